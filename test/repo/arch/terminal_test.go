package arch_test

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// draws are the files that may write control sequences, or ask for what is below a writer that
// escapes them.
var draws = []string{
	"pkg/telemetry/log.go",          // colors; every value is escaped
	"services/tapctl/flatten.go",    // rows for a file; escaped on a terminal
	"services/tapctl/replayview.go", // a progress bar
	"services/tapline/screen.go",    // the table of the demo, of own words only
}

// TestCommandsWriteThroughPrintable: a new command is safe unless it stands in the list. Commands
// get writers that escape from Execute; what could lead around them is the writer below, the
// process's own streams, and fmt with foreign values.
func TestCommandsWriteThroughPrintable(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t).sources {
		if s.test || slices.Contains(draws, s.path) || !under(s.path, "pkg", "services") || strings.Contains(s.path, "/cmd/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				x, ok := n.X.(*ast.Ident)
				if !ok {
					break
				}
				name := x.Name + "." + n.Sel.Name
				if name == "printable.Raw" || (s.path != "pkg/program/program.go" && !strings.HasPrefix(s.path, "pkg/bus/bustest/") && (name == "os.Stdout" || name == "os.Stderr")) {
					t.Errorf("%s uses %s: foreign text would reach a terminal as it is", s.path, name)
				}
				if s.dir == "services/tapctl" && strings.HasPrefix(name, "fmt.Fprint") && s.path != "services/tapctl/migrate.go" { // .env is no terminal
					t.Errorf("%s uses %s: use printf, in which a value cannot forge a line", s.path, name)
				}
			case *ast.BasicLit:
				if n.Kind == token.STRING && (strings.Contains(n.Value, `\x1b`) || strings.Contains(n.Value, `\033`)) {
					t.Errorf("%s has a control sequence in %s", s.path, n.Value)
				}
			}
			return true
		})
	}
}

// TestProgramsProtectTheirMemory: core files and other processes of the same user would get secrets
// out of it.
func TestProgramsProtectTheirMemory(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t).sources {
		if under(s.path, "services") && strings.HasSuffix(s.path, "/main.go") {
			if text := read(t, s.path); !strings.Contains(text, "program.Main(") && !strings.Contains(text, "program.Protect()") {
				t.Errorf("%s calls neither program.Main nor program.Protect", s.path)
			}
		}
	}
}
