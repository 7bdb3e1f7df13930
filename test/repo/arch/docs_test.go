package arch_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	quoted = regexp.MustCompile("`([^`\n]+)`")
	link   = regexp.MustCompile(`\]\(([^)#\s]+)[^)]*\)`)
	// named is what looks like a path of this repository.
	named = regexp.MustCompile(`^(\./)?(services|pkg|proto|test|docs|deploy|tools|\.ci)/[A-Za-z0-9._/-]*$|^[A-Za-z.]+\.(md|work|yml)$|^(Makefile|LICENSE|go\.work)$`)
)

func documents(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "bin" || entry.Name() == ".git" || entry.Name() == "data") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".md") {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 5 {
		t.Fatalf("found only %v", found)
	}
	return found
}

// TestPathsInDocumentsExist: a path in backquotes or a link names something that
// is there.
func TestPathsInDocumentsExist(t *testing.T) {
	t.Parallel()
	for _, doc := range documents(t) {
		data, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range quoted.FindAllSubmatch(data, -1) {
			name := string(m[1])
			if !named.MatchString(name) {
				continue
			}
			_, atRoot := os.Stat(filepath.Join(root, name))
			_, beside := os.Stat(filepath.Join(filepath.Dir(doc), name))
			if atRoot != nil && beside != nil {
				t.Errorf("%s names %s, which does not exist", doc, name)
			}
		}
		for _, m := range link.FindAllSubmatch(data, -1) {
			to := string(m[1])
			if strings.Contains(to, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(doc), to)); err != nil {
				t.Errorf("%s links to %s, which does not exist", doc, to)
			}
		}
	}
}
