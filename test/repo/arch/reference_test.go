package arch_test

import (
	"go/ast"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var envTag = regexp.MustCompile(`env:"([A-Z][A-Z0-9_]*)`)

// TestEveryVariableAndMetricIsDocumented, and none that does not exist.
func TestEveryVariableAndMetricIsDocumented(t *testing.T) {
	t.Parallel()
	code := map[string]bool{}
	for _, s := range sources(t).sources {
		if s.test || !under(s.dir, "pkg", "services") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range envTag.FindAllStringSubmatch(text, -1) {
				code[m[1]] = true
			}
			if regexp.MustCompile(`^tapline_[a-z_]+$`).MatchString(text) {
				code[text] = true
			}
			return true
		})
	}
	if len(code) < 80 {
		t.Fatalf("found only %d variables and metrics", len(code))
	}
	docs := map[string]bool{}
	for _, name := range []string{"docs/configuration.md", "docs/operations.md"} {
		for line := range strings.Lines(read(t, name)) {
			if m := regexp.MustCompile("^\\| `([A-Za-z0-9_]+)` \\|").FindStringSubmatch(line); m != nil {
				docs[m[1]] = true
			}
		}
	}
	for name := range code {
		if !docs[name] {
			t.Errorf("%s is not documented", name)
		}
	}
	for name := range docs {
		if !code[name] {
			t.Errorf("%s is documented and does not exist", name)
		}
	}
}
