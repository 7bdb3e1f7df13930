package arch_test

import (
	"go/ast"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/tapline/tapline/test/repo/reference"
)

// TestTablesAreGenerated: the tables of variables, metrics and rights are what `make docs`
// makes of the code.
func TestTablesAreGenerated(t *testing.T) {
	t.Parallel()
	pages := map[string]string{}
	for _, name := range reference.Documents() {
		pages[name] = read(t, name)
	}
	written, err := reference.Write(root, pages)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range written {
		if pages[name] != want {
			t.Errorf("%s is not what the code says: run make docs", name)
		}
	}
	outdated := map[string]string{}
	for name, page := range pages {
		outdated[name] = strings.NewReplacer("QUOTA_MARGIN", "QUOTA_SLACK", "tapline_alarm", "tapline_alert", "$KV.LEDGER", "$KV.BOOK").Replace(page)
	}
	if written, err = reference.Write(root, outdated); err != nil {
		t.Fatal(err)
	}
	for name, page := range outdated {
		if written[name] == page {
			t.Errorf("%s: a wrong table is not noticed", name)
		}
	}
}

// TestStagesReadWhatTheReferenceSays: the configuration of a stage's program is that
// of the stage, of the bus and of telemetry, as reference.Programs has it.
func TestStagesReadWhatTheReferenceSays(t *testing.T) {
	t.Parallel()
	found := 0
	for _, s := range sources(t).sources {
		stage := path.Base(s.dir)
		if s.path != "services/"+stage+"/cmd/"+stage+"/main.go" || !slices.Contains(stages, stage) {
			continue
		}
		found++
		want := []string{stage + ".Config", "bus.Config", "telemetry.Config"}
		if got := configFields(s.file); !slices.Equal(got, want) {
			t.Errorf("%s: its configuration is %v, want %v: or change reference.Programs, too", s.path, got, want)
		}
	}
	if found != len(stages) {
		t.Errorf("found %d programs of stages, want %d", found, len(stages))
	}
}

// configFields lists the types of the fields of the struct named config.
func configFields(file *ast.File) []string {
	var types []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != "config" {
			return true
		}
		structure, ok := spec.Type.(*ast.StructType)
		if !ok {
			return true
		}
		for _, f := range structure.Fields.List {
			if sel, ok := f.Type.(*ast.SelectorExpr); ok {
				if pkg, ok := sel.X.(*ast.Ident); ok {
					types = append(types, pkg.Name+"."+sel.Sel.Name)
				}
			}
		}
		return false
	})
	return types
}
