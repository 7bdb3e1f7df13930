package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"

	"github.com/caarlos0/env/v11"
)

// Variable describes one environment variable of a configuration struct.
type Variable struct {
	Name     string
	Default  string
	Usage    string
	Required bool
	Secret   bool // NAME_FILE works too
}

type validator interface{ Validate() error }

// Load fills target, a pointer to a struct, from environ ("NAME=value" as in
// [os.Environ]). The error joins one [ProblemError] for each thing that is wrong.
func Load(target any, environ []string) error {
	vars := env.ToMap(environ)
	for _, name := range lowered {
		if given := vars[strings.ToLower(name)]; given != "" {
			vars[name] = given
		}
	}
	value := reflect.ValueOf(target).Elem()
	var problems []error
	walk(value, func(field reflect.StructField, v reflect.Value) {
		if err := set(field, v, vars); err != nil {
			problems = append(problems, err)
		}
	})
	if len(problems) == 0 {
		return Validate(target)
	}
	return once(append(problems, others(Validate(target), problems)...))
}

// others are the problems with variables that nothing is said about yet: a field that could not
// be filled is not to be complained about twice.
func others(found error, said []error) []error {
	names := make(map[string]bool)
	for _, err := range said {
		if problem, ok := errors.AsType[*ProblemError](err); ok {
			names[strings.TrimSuffix(problem.Variable, "_FILE")] = true
		}
	}
	var more []error
	for _, err := range flatten(found) {
		if problem, ok := errors.AsType[*ProblemError](err); ok && !names[problem.Variable] {
			more = append(more, err)
		}
	}
	return more
}

// once joins problems. Several structs may have the same variable, and a sentence
// is said once.
func once(problems []error) error {
	seen := make(map[string]bool)
	var said []error
	for _, p := range problems {
		for _, e := range flatten(p) {
			if !seen[e.Error()] {
				seen[e.Error()] = true
				said = append(said, e)
			}
		}
	}
	return errors.Join(said...)
}

// Validate asks target and every struct inside it that has a Validate method,
// innermost first, and joins what they say. A struct whose method is promoted
// from an embedded one answers twice; the same sentence is reported once.
func Validate(target any) error {
	var problems []error
	collect(reflect.ValueOf(target).Elem(), func(err error) { problems = append(problems, err) })
	return once(problems)
}

func collect(v reflect.Value, report func(error)) {
	for i := range v.NumField() {
		if v.Field(i).Kind() == reflect.Struct && v.Type().Field(i).IsExported() {
			collect(v.Field(i), report)
		}
	}
	if target, ok := reflect.TypeAssert[validator](v.Addr()); ok {
		report(target.Validate())
	}
}

// flatten takes joined errors apart.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flatten(e)...)
	}
	return all
}

// Describe lists the variables of target, a pointer to a struct, in the order
// of its fields.
func Describe(target any) []Variable {
	var vars []Variable
	walk(reflect.ValueOf(target).Elem(), func(field reflect.StructField, _ reflect.Value) {
		name, options, _ := strings.Cut(field.Tag.Get("env"), ",")
		vars = append(vars, Variable{
			Name: name, Default: field.Tag.Get("envDefault"), Usage: field.Tag.Get("usage"),
			Required: strings.Contains(options, "required"), Secret: field.Type == secretType,
		})
	})
	return vars
}

var secretType = reflect.TypeFor[Secret]()

// walk visits every field with an env tag, in order, also of nested structs.
func walk(v reflect.Value, visit func(reflect.StructField, reflect.Value)) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		switch {
		case field.Tag.Get("env") != "":
			visit(field, v.Field(i))
		case field.Type.Kind() == reflect.Struct && field.IsExported():
			walk(v.Field(i), visit)
		}
	}
}

// set fills one field. Each is parsed alone, so that the message can name the
// variable rather than the field.
func set(field reflect.StructField, v reflect.Value, vars map[string]string) error {
	name, options, _ := strings.Cut(field.Tag.Get("env"), ",")
	isSecret := field.Type == secretType
	if isSecret {
		var err error
		if vars, err = withFile(name, vars); err != nil {
			return err
		}
	}
	given := vars[name]
	if given == "" && strings.Contains(options, "required") {
		hint := "is required"
		if isSecret {
			hint += fmt.Sprintf(" (or %s_FILE, the path of a file that holds it)", name)
		}
		return &ProblemError{Variable: name, Reason: hint}
	}
	if given == "" { // set but empty means the default, as compose files write it
		vars = maps.Clone(vars)
		delete(vars, name)
	}
	single := reflect.New(reflect.StructOf([]reflect.StructField{{
		Name: field.Name, Type: field.Type, Tag: field.Tag,
	}}))
	single.Elem().Field(0).Set(v)
	if err := env.ParseWithOptions(single.Interface(), env.Options{Environment: vars}); err != nil {
		if isSecret {
			given = Redacted
		}
		return &ProblemError{Variable: name, Value: given, Reason: reason(err)}
	}
	v.Set(single.Elem().Field(0))
	return nil
}

// withFile returns vars with name taken from the file that name_FILE gives.
func withFile(name string, vars map[string]string) (map[string]string, error) {
	path := vars[name+"_FILE"]
	if path == "" {
		return vars, nil
	}
	if vars[name] != "" {
		return nil, &ProblemError{Variable: name, Value: Redacted, Reason: "give either " + name + " or " + name + "_FILE, not both"}
	}
	secret, err := ReadSecret(path)
	if err != nil {
		return nil, &ProblemError{Variable: name + "_FILE", Value: path, Reason: err.Error()}
	}
	vars = maps.Clone(vars)
	vars[name] = secret
	return vars, nil
}

// reason takes the cause out of what the env package wraps around it.
func reason(err error) string {
	var all env.AggregateError
	if errors.As(err, &all) && len(all.Errors) == 1 {
		err = all.Errors[0]
	}
	if parse, ok := errors.AsType[env.ParseError](err); ok {
		return fmt.Sprintf("want a %s: %v", parse.Type, parse.Err)
	}
	return err.Error()
}
