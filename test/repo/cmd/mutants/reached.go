package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// reached says of each line, by file:line, whether a test reaches something in it. Lines without code are not in it.
type reached map[string]bool

// line reports whether a line of a file may be reached. Files have their names only: a package has each once.
func (r reached) line(path string, number int) bool {
	yes, known := r[place(path, number)]
	return yes || !known
}

// mutant reports whether a test may notice a mutant. A branch that no test takes is not missed either.
func (r reached) mutant(c candidate) bool {
	return r.line(c.path, c.Line) && (c.Now != "("+c.Was+") && false" || r.line(c.path, c.Line+1))
}

func place(path string, line int) string { return filepath.Base(path) + ":" + strconv.Itoa(line) }

// readProfile reads what go test writes with -coverprofile.
func readProfile(path string) (reached, error) {
	data, err := os.ReadFile(path) //nolint:gosec // it was made here
	if err != nil {
		return nil, fmt.Errorf("mutants: %w", err)
	}
	r := make(reached)
	for text := range strings.Lines(string(data)) {
		file, block, ok := strings.Cut(strings.TrimSpace(text), ".go:")
		var first, last, statements, times, column int
		if _, err := fmt.Sscanf(block, "%d.%d,%d.%d %d %d", &first, &column, &last, &column, &statements, &times); !ok || err != nil {
			continue // the mode
		}
		for n := first; n <= last; n++ {
			at := place(file+".go", n)
			r[at] = r[at] || times > 0
		}
	}
	return r, nil
}

var seconds = regexp.MustCompile(`\t([0-9.]+)s\b`)

// took is how long the tests ran, without their building.
func took(report string) time.Duration {
	m := seconds.FindStringSubmatch(report)
	if m == nil {
		return time.Minute
	}
	d, err := time.ParseDuration(m[1] + "s")
	if err != nil {
		return time.Minute
	}
	return d
}
