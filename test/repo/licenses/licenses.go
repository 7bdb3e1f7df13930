// Package licenses checks under what terms the modules may be passed on that are linked into
// Tapline's programs. deploy/licenses.txt names each with its licence; a module that is new, has
// changed its licence or whose licence asks for more than its own text is an error until a person
// has decided.
package licenses

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// List is the file that names modules and licences.
const List = "deploy/licenses.txt"

// permissive licences ask for nothing but that their text is passed on, which the bundle does.
var permissive = []string{"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"}

// ErrLicense is what every problem is.
var ErrLicense = errors.New("licence")

// Module is a module that is linked in, and the folder of its source.
type Module struct{ Path, Version, Dir string }

// Shipped are the modules of all programs.
func Shipped(ctx context.Context, root string) ([]Module, error) {
	command := exec.CommandContext(ctx, "go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Version}}\t{{.Dir}}{{end}}{{end}}", "./...")
	command.Dir = filepath.Join(root, "services")
	command.Env = append(command.Environ(), "GOWORK=off")
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: list modules: %w", ErrLicense, err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(lines)
	var all []Module
	for _, line := range slices.Compact(lines) {
		fields := strings.Split(line, "\t")
		if len(fields) == 3 && !strings.HasPrefix(fields[0], "github.com/tapline/") {
			all = append(all, Module{fields[0], fields[1], fields[2]})
		}
	}
	return all, nil
}

// Read reads the list: module to licence.
func Read(root string) (map[string]string, error) {
	data, err := os.ReadFile(filepath.Join(root, List)) //nolint:gosec // the caller names the repository
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLicense, err)
	}
	known := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		path, license, ok := strings.Cut(line, " ")
		if !ok {
			return nil, fmt.Errorf("%w: %s: %q: want MODULE LICENCE", ErrLicense, List, line)
		}
		known[path] = license
	}
	return known, nil
}

// Check compares the modules with the list; the error names every difference.
func Check(modules []Module, known map[string]string) error {
	var problems []error
	problem := func(m Module, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%w: %s: %s", ErrLicense, m.Path, fmt.Sprintf(format, args...)))
	}
	left := map[string]bool{}
	for path := range known {
		left[path] = true
	}
	for _, m := range modules {
		delete(left, m.Path)
		found, err := Of(m.Dir)
		listed, ok := known[m.Path]
		switch {
		case err != nil:
			problem(m, "%v", err)
		case !Permissive(found):
			problem(m, "has %s, which is none of %s: do without the module", found, strings.Join(permissive, ", "))
		case !ok:
			problem(m, "is not in %s: read its licence and add the line %q", List, m.Path+" "+found)
		case listed != found:
			problem(m, "has %s, and %s says %s", found, List, listed)
		}
	}
	for path := range left {
		problem(Module{Path: path}, "is in %s and no longer linked in: remove the line", List)
	}
	return errors.Join(problems...)
}

// Permissive reports whether all licences of an expression are.
func Permissive(expression string) bool {
	for one := range strings.SplitSeq(expression, " AND ") {
		if !slices.Contains(permissive, one) {
			return false
		}
	}
	return true
}

var (
	file  = regexp.MustCompile(`(?i)^(LICEN[CS]E|COPYING)`)
	space = regexp.MustCompile(`[\s*#/>]+`)
	// marks are sentences that stand in one licence only, in lower case and with single spaces.
	marks = []struct{ license, text string }{
		{"Apache-2.0", "apache license version 2.0, january 2004"},
		{"MIT", "permission is hereby granted, free of charge, to any person obtaining a copy"},
		{"ISC", "permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted, provided that the above copyright notice"},
		{"0BSD", "permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted. the software is provided"},
		{"MPL", "mozilla public license"},
		{"LGPL", "gnu lesser general public license"},
		{"AGPL", "gnu affero general public license"},
		{"GPL", "gnu general public license"},
		{"EPL", "eclipse public license"},
		{"BUSL", "business source license"},
		{"SSPL", "server side public license"},
		{"Commons-Clause", "commons clause"},
		{"CC", "creative commons"},
	}
)

const redistribution = "redistribution and use in source and binary forms"

// Of tells the licences of a module from the texts in its folder.
func Of(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var found []string
	for _, entry := range entries {
		if entry.IsDir() || !file.MatchString(entry.Name()) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, entry.Name())) //nolint:gosec // the module's own files
		if err != nil {
			return "", err
		}
		found = append(found, identify(string(data))...)
	}
	slices.Sort(found)
	if found = slices.Compact(found); len(found) == 0 {
		return "", fmt.Errorf("%w: no text that is known", ErrLicense)
	}
	return strings.Join(found, " AND "), nil
}

func identify(text string) (found []string) {
	text = strings.ToLower(space.ReplaceAllString(text, " "))
	for _, mark := range marks {
		if strings.Contains(text, mark.text) {
			found = append(found, mark.license)
		}
	}
	if strings.Contains(text, redistribution) {
		if strings.Contains(text, "may be used to endorse or promote products") {
			return append(found, "BSD-3-Clause")
		}
		found = append(found, "BSD-2-Clause")
	}
	return found
}
