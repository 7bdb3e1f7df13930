package arch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const (
	root   = "../../.."
	module = "github.com/tapline/tapline/"
)

// stages, in the order of the flow.
var stages = []string{"scheduler", "fetcher", "enricher", "shipper"}

// source is one Go file that people wrote.
type source struct {
	path    string // from the root of the repository
	dir     string
	test    bool
	imports []string
	file    *ast.File
	lines   int
}

type tree struct {
	fset    *token.FileSet
	sources []source
}

var load = sync.OnceValues(func() (tree, error) {
	t := tree{fset: token.NewFileSet()}
	for _, top := range []string{"pkg", "services", "test", "proto"} {
		if err := filepath.WalkDir(filepath.Join(root, top), t.add); err != nil {
			return t, err
		}
	}
	return t, nil
})

func (t *tree) add(path string, entry fs.DirEntry, err error) error {
	if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, ".pb.go") {
		return err
	}
	file, err := parser.ParseFile(t.fset, path, nil, parser.ParseComments)
	if err != nil {
		return err
	}
	name, err := filepath.Rel(root, path)
	if err != nil {
		return err
	}
	name = filepath.ToSlash(name)
	s := source{path: name, dir: filepath.ToSlash(filepath.Dir(name)), test: strings.HasSuffix(name, "_test.go"), file: file}
	s.lines = t.fset.Position(file.FileEnd).Line
	for _, spec := range file.Imports {
		to, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		s.imports = append(s.imports, to)
	}
	t.sources = append(t.sources, s)
	return nil
}

func sources(t *testing.T) tree {
	t.Helper()
	all, err := load()
	if err != nil {
		t.Fatal(err)
	}
	if len(all.sources) < 100 {
		t.Fatalf("found only %d files", len(all.sources))
	}
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
