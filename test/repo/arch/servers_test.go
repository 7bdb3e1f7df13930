package arch_test

import (
	"go/ast"
	"testing"
)

// TestServersHaveLimits: HTTP servers are made by telemetry.NewServer, which bounds what a client
// may send.
func TestServersHaveLimits(t *testing.T) {
	t.Parallel()
	all, made := sources(t), 0
	for _, s := range all.sources {
		if s.test || under(s.dir, "test") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			from, ok := selector.X.(*ast.Ident)
			if !ok || from.Name != "http" {
				return true
			}
			switch selector.Sel.Name {
			case "Server":
				if made++; !under(s.dir, "pkg/telemetry") {
					t.Errorf("%s makes an HTTP server: use telemetry.NewServer", s.path)
				}
			case "ListenAndServe", "ListenAndServeTLS", "Serve", "ServeTLS":
				t.Errorf("%s serves without limits: use telemetry.NewServer", s.path)
			}
			return true
		})
	}
	if made == 0 {
		t.Error("found no server at all")
	}
}
