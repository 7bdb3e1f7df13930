package arch_test

import (
	"go/ast"
	"testing"
)

// TestMessagesAreDecodedWithinBounds: what is on the bus may be of a stage that was taken over, and
// a few bytes of it must not take the memory of a program.
func TestMessagesAreDecodedWithinBounds(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t).sources {
		if s.test || s.dir == "pkg/wire" || !under(s.path, "pkg", "services") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if call, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := call.X.(*ast.Ident); ok && x.Name == "proto" && call.Sel.Name == "Unmarshal" {
					t.Errorf("%s uses proto.Unmarshal: use wire.Unmarshal, which has bounds", s.path)
				}
			}
			return true
		})
	}
}
