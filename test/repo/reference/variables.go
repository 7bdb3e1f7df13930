package reference

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/devoquery"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/enricher"
	"github.com/tapline/tapline/services/fetcher"
	"github.com/tapline/tapline/services/scheduler"
	"github.com/tapline/tapline/services/shipper"
	"github.com/tapline/tapline/services/tapctl"
	"github.com/tapline/tapline/services/tapline"
	"github.com/tapline/tapline/services/tapsim"
)

// Program is one binary and what it takes from the environment.
type Program struct {
	Name  string
	parts []any
	vars  []config.Variable
}

// Check says what is wrong with an environment for the program, as the program itself
// would at its start.
func (p Program) Check(environ []string) error {
	var problems []error
	for _, part := range p.parts {
		problems = append(problems, config.Load(part, environ))
	}
	return errors.Join(problems...)
}

// Variables lists what the program reads, in the order of its --help. Each is listed
// once, though parts of a program may share one.
func (p Program) Variables() []config.Variable { return p.vars }

// Accepts reports whether the program reads a variable of this name, or its file.
func (p Program) Accepts(name string) bool {
	return slices.ContainsFunc(p.vars, func(v config.Variable) bool {
		return v.Name == name || v.Secret && v.Name+"_FILE" == name
	})
}

// Programs lists every binary, those that a deployment runs apart first. A stage is
// its own configuration, the bus and telemetry; test/repo/arch holds its cmd to that.
func Programs() []Program {
	stage := func(name string, own any) Program {
		return program(name, own, &bus.Config{}, &telemetry.Config{})
	}
	return []Program{
		stage("scheduler", &scheduler.Config{}), stage("fetcher", &fetcher.Config{}),
		stage("enricher", &enricher.Config{}), stage("shipper", &shipper.Config{}),
		program("tapctl", &tapctl.Config{}, &devoquery.Config{}), program("tapline", &tapline.Config{}),
		program("tapsim", &tapsim.ProgramConfig{}), program("devosink", &devosink.ProgramConfig{}),
	}
}

func program(name string, parts ...any) Program {
	p := Program{Name: name, parts: parts}
	for _, part := range parts {
		for _, v := range config.Describe(part) {
			if !slices.ContainsFunc(p.vars, func(had config.Variable) bool { return had.Name == v.Name }) {
				p.vars = append(p.vars, v)
			}
		}
	}
	return p
}

// sections are the tables of docs/configuration.md. A variable stands in the first
// whose parts have it, so those that hold others come after them.
func sections() []section {
	return []section{
		{"every-program", []any{&telemetry.Config{}}},
		{"bus", []any{&bus.Config{}}},
		{"proofpoint", []any{&scheduler.Config{}, &fetcher.Config{}}},
		{"rows", []any{&enricher.Config{}}},
		{"read-back", []any{&devoquery.Config{}}},
		{"sink", []any{&shipper.Config{}}},
		{"streams", []any{&tapline.Config{}}},
		{"operator", []any{&tapctl.Config{}}},
		{"stand-ins", []any{&tapsim.ProgramConfig{}, &devosink.ProgramConfig{}}},
	}
}

type section struct {
	name  string
	parts []any
}

// variableTables gives the lines of each section.
func variableTables() map[string]string {
	programs, seen, tables := Programs(), map[string]bool{}, map[string]string{}
	for _, s := range sections() {
		var own []config.Variable
		for _, v := range program(s.name, s.parts...).vars {
			if !seen[v.Name] {
				own, seen[v.Name] = append(own, v), true
			}
		}
		if len(own) == 0 {
			continue
		}
		var b strings.Builder
		line(&b, "variable", "default", "read by", "meaning")
		line(&b, "---", "---", "---", "---")
		for _, v := range own {
			line(&b, "`"+v.Name+"`", initial(v), readers(programs, v.Name), meaning(v))
		}
		tables["variables "+s.name] = b.String()
	}
	return tables
}

func initial(v config.Variable) string {
	switch {
	case v.Required:
		return "required"
	case v.Default == "":
		return ""
	}
	return "`" + v.Default + "`"
}

func meaning(v config.Variable) string {
	if v.Secret {
		return v.Usage + "; or `" + v.Name + "_FILE`, a file that holds it"
	}
	return v.Usage
}

// readers names the programs that read a variable. The all-in-one reads nearly all,
// so it is named only where it is alone.
func readers(programs []Program, name string) string {
	var all []string
	for _, p := range programs {
		if p.Accepts(name) && p.Name != "tapline" {
			all = append(all, p.Name)
		}
	}
	if len(all) == 0 {
		return "tapline"
	}
	said := strings.Join(all, ", ")
	return strings.Replace(said, "scheduler, fetcher, enricher, shipper", "every stage", 1)
}

// line writes one row of a table.
func line(w io.Writer, cells ...string) {
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(c, "|", `\|`)
	}
	_, _ = fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
}
