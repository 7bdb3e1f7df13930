// Package config fills configuration structs from environment variables and
// reports everything that is wrong with them at once.
//
// A struct names its variables with the tags of caarlos0/env, plus `usage`,
// one line for --help:
//
//	type Config struct {
//		URL    string        `env:"TAP_URL" envDefault:"https://..." usage:"Proofpoint base URL"`
//		Secret config.Secret `env:"TAP_SECRET,required" usage:"secret of the service credential"`
//	}
//
// Every field of type [Secret] can also be given as a file: the variable with
// the suffix _FILE names it. Structs nest without a prefix. A struct (nested or
// not) with a Validate method is asked after all of its fields are set.
//
// This package is the only one that knows where values come from; nothing else
// reads the environment.
package config
