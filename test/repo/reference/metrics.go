package reference

import (
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

// Metric is one that a program registers.
type Metric struct {
	Name   string
	Kind   string // counter, gauge or histogram
	Labels []string
	Help   string
}

// Metrics lists what the code below root, the folder of the repository, registers
// with Prometheus, by name. A metric must be spelled in literals.
func Metrics(root string) ([]Metric, error) {
	var all []Metric
	for _, top := range []string{"pkg", "services"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return fmt.Errorf("metrics: %w", err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					if m, ok := metric(call); ok {
						all = append(all, m)
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b Metric) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// metric reads prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "...", Help: "..."},
// []string{"..."}).
func metric(call *ast.CallExpr) (Metric, bool) {
	fun, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) == 0 {
		return Metric{}, false
	}
	made, ok := strings.CutPrefix(fun.Sel.Name, "New")
	if from, isName := fun.X.(*ast.Ident); !ok || !isName || from.Name != "prometheus" {
		return Metric{}, false
	}
	kind, _ := strings.CutSuffix(strings.TrimSuffix(made, "Vec"), "Func")
	options, ok := call.Args[0].(*ast.CompositeLit)
	if !ok {
		return Metric{}, false
	}
	m := Metric{Kind: strings.ToLower(kind)}
	for _, e := range options.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			switch key, _ := kv.Key.(*ast.Ident); key.Name {
			case "Name":
				m.Name = text(kv.Value)
			case "Help":
				m.Help = text(kv.Value)
			}
		}
	}
	if len(call.Args) > 1 {
		if labels, ok := call.Args[1].(*ast.CompositeLit); ok {
			for _, e := range labels.Elts {
				m.Labels = append(m.Labels, text(e))
			}
		}
	}
	return m, m.Name != ""
}

func text(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok {
		return ""
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return s
}

func metricTable(root string) (string, error) {
	all, err := Metrics(root)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	line(&b, "metric", "kind", "labels", "meaning")
	line(&b, "---", "---", "---", "---")
	for _, m := range all {
		line(&b, "`"+m.Name+"`", m.Kind, strings.Join(m.Labels, ", "), m.Help)
	}
	return b.String(), nil
}
