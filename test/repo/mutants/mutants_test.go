package mutants_test

import (
	"bytes"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tapline/tapline/test/repo/mutants"
)

const source = `package odd

import "errors"

var errOdd = errors.New("odd")

type log struct{}

func (log) Warn(string) {}

func Half(n int, log log) (half int, err error) {
	if n%2 != 0 && n > 0 {
		err = errOdd
	}
	if n < 0 {
		log.Warn("below")
	}
	half = n / 2
	return half, err
}
`

// write makes a module with the source, as the folder of the process.
func write(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	t.Setenv("GOWORK", "off")
	for name, text := range map[string]string{"go.mod": "module odd\n\ngo 1.26.0\n", "odd.go": source} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMutantsOfAPackage: each kind of change is made, and none in what only logs.
func TestMutantsOfAPackage(t *testing.T) {
	write(t)
	files, err := mutants.Package(".")
	if err != nil || len(files) != 1 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	var made []string
	for _, m := range files[0].Mutants {
		made = append(made, m.Was+" => "+m.Now)
		if !m.Valid(files[0].Text) {
			t.Errorf("%s leaves nothing that compiles", m.Key())
		}
	}
	slices.Sort(made)
	if got, want := strings.Join(made, "\n"), `0 => 1
0 => 1
2 => 3
2 => 3
err = errOdd => 
err => nil
half = n / 2 => 
n / 2 => n * 2
n > 0 => n >= 0
n%2 != 0 && n > 0 => (n%2 != 0 && n > 0) && false
n%2 != 0 && n > 0 => (n%2 != 0 && n > 0) || true
n%2 != 0 && n > 0 => n%2 != 0 || n > 0
n%2 != 0 => n%2 == 0`; got != want {
		t.Errorf("made:\n%s\nwant:\n%s", got, want)
	}
}

// TestOneProgramIsAllMutants: with all of them in it, nested as they are, a file can be parsed and
// its lines stay where they are.
func TestOneProgramIsAllMutants(t *testing.T) {
	write(t)
	files, err := mutants.Package(".")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[int]mutants.Mutant)
	for i, m := range files[0].Mutants {
		all[i+1] = m
	}
	text := files[0].Switched(all)
	if bytes.Count(text, []byte("\n")) != strings.Count(source, "\n") {
		t.Errorf("the lines moved:\n%s", text)
	}
	for name, text := range map[string][]byte{filepath.Base(files[0].Path): text, "support.go": mutants.Support(files[0].Name)} {
		if _, err := parser.ParseFile(token.NewFileSet(), name, text, 0); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
	for i := range all {
		if !regexp.MustCompile(fmt.Sprintf(`\(%d\b`, i)).Match(text) {
			t.Errorf("mutant %d is not in it", i)
		}
	}
}
