package torture

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Step is a named step of one program.
type Step struct {
	Name    string // such as fetcher.published
	Program string // such as fetcher
}

// String is how matrices and reports name it.
func (s Step) String() string { return s.Program + "/" + s.Name }

// Steps finds every step in the code: those of a stage in its folder, and those of the packages
// that all of them share, for each stage.
func Steps(root string) ([]Step, error) {
	var steps []Step
	for _, top := range []string{"pkg", "services"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".pb.go") {
				return err
			}
			names, err := stepsIn(path)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			for _, name := range names {
				for _, program := range programsOf(filepath.ToSlash(rel)) {
					steps = append(steps, Step{name, program})
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("find the steps: %w", err)
		}
	}
	slices.SortFunc(steps, func(a, b Step) int { return cmp.Or(cmp.Compare(a.Program, b.Program), cmp.Compare(a.Name, b.Name)) })
	return slices.Compact(steps), nil
}

// backups are tapctl backup and tapctl restore, for which no stage runs: the matrix does not pass
// their steps, a test of their own does.
const backups = "tapctl-backup"

// letters is tapctl dead. It acts beside the stages, which a test of its own plays.
const letters = "tapctl-dead"

// programsOf are the programs that may pass the steps of a file.
func programsOf(path string) []string {
	if strings.HasPrefix(path, "services/tapctl/internal/backup/") {
		return []string{backups}
	}
	if strings.HasPrefix(path, "services/tapctl/") {
		return []string{letters}
	}
	if rest, ok := strings.CutPrefix(path, "services/"); ok {
		stage, _, _ := strings.Cut(rest, "/")
		return []string{stage}
	}
	if path == "pkg/bus/setup.go" {
		return []string{"tapctl"}
	}
	return []string{"scheduler", "fetcher", "enricher", "shipper"}
}

// stepsIn finds calls of step.At in a file.
func stepsIn(path string) ([]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	var names []string
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		f, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || f.Sel.Name != "At" || len(call.Args) != 1 {
			return true
		}
		if pkg, ok := f.X.(*ast.Ident); !ok || pkg.Name != "step" {
			return true
		}
		literal, ok := call.Args[0].(*ast.BasicLit)
		if !ok {
			err = fmt.Errorf("%s: %w: the name of a step is a literal", path, errVerb)
			return false
		}
		var name string
		if name, err = strconv.Unquote(literal.Value); err == nil {
			names = append(names, name)
		}
		return true
	})
	return names, err
}
