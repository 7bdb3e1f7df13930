package arch_test

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// maxCommentColumns bounds a line of comment, tabs counted as four columns.
const maxCommentColumns = 100

// banned are words of our own for things that have a name.
var banned = map[string]string{
	"nobody": "no process, no caller", "whoever": "the caller, the process",
	"bury": "dead-letter", "buries": "dead-letters", "buried": "dead-lettered", "obituary": "dead letter",
	"fate": "outcome", "fates": "outcomes", "parcel": "in-flight batch", "parcels": "in-flight batches",
	"outlet": "sink", "outlets": "sinks", "wish": "lookup", "wishes": "lookups", "pen": "page writer", "pens": "page writers",
}

var (
	word      = regexp.MustCompile(`[A-Za-z]+`)
	camelWord = regexp.MustCompile(`[A-Z]*[a-z]+|[A-Z]+`)
)

func TestOneWordForOneThing(t *testing.T) {
	t.Parallel()
	all := sources(t)
	clean := make(map[string]bool) // names that were looked at
	for _, s := range all.sources {
		ast.Inspect(s.file, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && !clean[id.Name] {
				clean[id.Name] = true
				for _, w := range camelWord.FindAllString(id.Name, -1) {
					if better := banned[strings.ToLower(w)]; better != "" {
						clean[id.Name] = false
						t.Errorf("%s: %s: for %q say %s", all.fset.Position(id.Pos()), id.Name, w, better)
					}
				}
			}
			return true
		})
		for _, group := range s.file.Comments {
			for _, w := range word.FindAllString(group.Text(), -1) {
				if better := banned[strings.ToLower(w)]; better != "" {
					t.Errorf("%s: for %q say %s", all.fset.Position(group.Pos()), w, better)
				}
			}
		}
	}
}

func TestCommentsAreWrapped(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t).sources {
		data, err := os.ReadFile(filepath.Join(root, s.path))
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(data), "\n") {
			text, comment := strings.CutPrefix(strings.TrimLeft(line, "\t"), "// ")
			if !comment || !strings.Contains(strings.TrimSpace(text), " ") { // one long word cannot be wrapped
				continue
			}
			if n := utf8.RuneCountInString(strings.ReplaceAll(line, "\t", "    ")); n > maxCommentColumns {
				t.Errorf("%s:%d: a comment of %d columns, more than %d", s.path, i+1, n, maxCommentColumns)
			}
		}
	}
}
