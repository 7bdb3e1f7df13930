package embedded

import (
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/conf"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/tapline/tapline/pkg/config"
)

// ServeFile runs a server from a configuration file, as the program nats-server does, until a
// signal ends the process. SIGHUP has it read the file again. For tests that treat it as a
// deployment's.
func ServeFile(file string) error {
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		return &config.ProblemError{Variable: "FILE", Value: file, Reason: "is no configuration of a NATS server: " + err.Error()}
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("start NATS server from %s: %w", file, err)
	}
	ns.ConfigureLogger()
	ns.Start()
	if !ns.ReadyForConnections(30 * time.Second) {
		ns.Shutdown()
		return fmt.Errorf("%w in 30 s: is the disk of %s full or broken?", ErrNotReady, opts.StoreDir)
	}
	ns.WaitForShutdown()
	return nil
}

// ServerKeys reads the keys of a NATS server from the file with them that its configuration
// includes. The only cipher is aes.
func ServerKeys(file string) (Keys, error) {
	keys := Keys{Source: file}
	settings, err := conf.ParseFile(file)
	if err != nil { // the text of the error may have the key in it
		return keys, config.Invalid("--encryption", file, "cannot be read, or is no part of a configuration of a NATS server")
	}
	for name, value := range settings {
		text, ok := value.(string)
		switch {
		case !ok:
			return keys, config.Invalid("--encryption", file, "want "+name+" in quotes")
		case name == "key":
			keys.Key = config.Secret(text)
		case name == "prev_encryption_key":
			keys.Previous = config.Secret(text)
		case name != "cipher" || text != "aes":
			return keys, config.Invalid("--encryption", file, "want cipher: aes, key and prev_encryption_key, and not "+name)
		}
	}
	if keys.Key != "" && settings["cipher"] == nil { // the server would take another one
		return keys, config.Invalid("--encryption", file, "want cipher: aes beside key")
	}
	return keys, keys.Validate()
}
