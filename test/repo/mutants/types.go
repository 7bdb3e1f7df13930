package mutants

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	gotypes "go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// Source is a file of a package with its mutants.
type Source struct {
	Path    string // absolute
	Name    string // of the package
	Text    []byte
	Mutants []Mutant
}

// types are what the compiler knows of a package's expressions.
type types struct {
	fset *token.FileSet
	info *gotypes.Info
	pack *gotypes.Package
	file *ast.File
}

// listed is what go list says of a package.
type listed struct {
	Dir, ImportPath, Export string
	GoFiles                 []string
	DepOnly                 bool
}

// Package lists the mutants of a package's files, as they are built for this machine.
func Package(folder string) ([]Source, error) {
	out, err := exec.CommandContext(context.Background(), "go", "list", "-export", "-deps", "-json=Dir,ImportPath,Export,GoFiles,DepOnly", "./"+folder).Output() //nolint:gosec // the caller's own package
	if err != nil {
		return nil, fmt.Errorf("mutants: go list %s: %w", folder, err)
	}
	exports := make(map[string]string)
	var own listed
	for decode := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listed
		if err := decode.Decode(&l); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("mutants: go list %s: %w", folder, err)
		}
		exports[l.ImportPath] = l.Export
		if !l.DepOnly {
			own = l
		}
	}
	return check(own, exports)
}

// check reads the files of a package and asks the compiler for their types.
func check(own listed, exports map[string]string) ([]Source, error) {
	t := types{fset: token.NewFileSet(), info: &gotypes.Info{Types: make(map[ast.Expr]gotypes.TypeAndValue)}}
	var all []Source
	var files []*ast.File
	for _, name := range own.GoFiles {
		path := filepath.Join(own.Dir, name)
		text, err := os.ReadFile(path) //nolint:gosec // of the caller's own package
		if err != nil {
			return nil, fmt.Errorf("mutants: %w", err)
		}
		file, err := parser.ParseFile(t.fset, name, text, parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("mutants: %w", err)
		}
		files = append(files, file)
		all = append(all, Source{Path: path, Name: file.Name.Name, Text: text})
	}
	conf := gotypes.Config{Importer: importer.ForCompiler(t.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })}
	var err error
	if t.pack, err = conf.Check(own.ImportPath, t.fset, files, t.info); err != nil {
		return nil, fmt.Errorf("mutants: %w", err)
	}
	for i := range all {
		t.file = files[i]
		all[i].Mutants = of(own.GoFiles[i], all[i].Text, files[i], t)
	}
	return all, nil
}

// written is the type of an expression as its file writes it, if it can.
func (t types) written(e ast.Expr) (name string, ok bool) {
	of := gotypes.Default(t.info.TypeOf(e))
	if of == nil {
		return "", false
	}
	ok = true
	name = gotypes.TypeString(of, func(p *gotypes.Package) string {
		if p == t.pack {
			return ""
		}
		for _, i := range t.file.Imports {
			if i.Path.Value == `"`+p.Path()+`"` {
				if i.Name != nil {
					return i.Name.Name
				}
				return p.Name()
			}
		}
		ok = false
		return p.Name()
	})
	return name, ok
}
