package arch_test

import (
	"go/ast"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// Budgets of CONTRIBUTING.md.
const (
	maxFileLines     = 400
	maxFunctionLines = 50
	maxParameters    = 5
	maxMethods       = 5
)

func TestBudgets(t *testing.T) {
	t.Parallel()
	all := sources(t)
	for _, s := range all.sources {
		if s.lines > maxFileLines {
			t.Errorf("%s has %d lines, more than %d", s.path, s.lines, maxFileLines)
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				lines := all.fset.Position(n.End()).Line - all.fset.Position(n.Pos()).Line + 1
				if lines > maxFunctionLines && !s.test {
					t.Errorf("%s: %s has %d lines, more than %d", s.path, n.Name.Name, lines, maxFunctionLines)
				}
				if n.Type.Params.NumFields() > maxParameters {
					t.Errorf("%s: %s has %d parameters, more than %d", s.path, n.Name.Name, n.Type.Params.NumFields(), maxParameters)
				}
			case *ast.InterfaceType:
				if n.Methods.NumFields() > maxMethods {
					t.Errorf("%s: an interface of %d methods, more than %d", s.path, n.Methods.NumFields(), maxMethods)
				}
			}
			return true
		})
	}
}

func TestEveryPackageHasOneComment(t *testing.T) {
	t.Parallel()
	comments := make(map[string]int)
	for _, s := range sources(t).sources {
		if s.test {
			continue
		}
		comments[s.dir] += 0
		if s.file.Doc != nil {
			comments[s.dir]++
		}
	}
	for dir, n := range comments {
		if n != 1 {
			t.Errorf("%s has %d package comments", dir, n)
		}
	}
}

// generated is the path of an input that has the name the fuzzer gave it.
var generated = regexp.MustCompile(`/testdata/fuzz/\w+/[0-9a-f]{16}$`)

// TestFuzzInputsAreNamed: an input that is kept failed once, and its name says which property it
// broke.
func TestFuzzInputsAreNamed(t *testing.T) {
	t.Parallel()
	if !generated.MatchString("pkg/job/testdata/fuzz/FuzzParse/407bb25947ba7ff1") || generated.MatchString("pkg/job/testdata/fuzz/FuzzParse/zero_before_pass") {
		t.Error("a generated name is not told from words")
	}
	for _, top := range []string{"pkg", "services", "test"} {
		if err := filepath.WalkDir(filepath.Join(root, top), func(path string, _ fs.DirEntry, err error) error {
			if generated.MatchString(filepath.ToSlash(path)) {
				t.Errorf("%s: name it after the property it breaks, or make it a seed (f.Add) and delete it", path)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStagesHaveTheSameFiles: who knows one stage finds the way in all.
func TestStagesHaveTheSameFiles(t *testing.T) {
	t.Parallel()
	for _, stage := range stages {
		for _, name := range []string{
			"doc.go", stage + ".go", "handle.go", "config.go", "errors.go", "metrics.go", stage + "_test.go", "cmd/" + stage + "/main.go",
		} {
			if _, err := os.Stat(filepath.Join(root, "services", stage, name)); err != nil {
				t.Errorf("services/%s has no %s", stage, name)
			}
		}
	}
}
