package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tapline/tapline/test/repo/mutants"
)

// test is one test of the package, as it runs without a mutant.
type test struct {
	name    string
	took    time.Duration
	reaches map[int]bool
	err     error
}

const (
	// first and next are how long the tests take together, each alone, that a mutant meets at once.
	first = 3 * time.Second
	next  = 15 * time.Second
	// slack is given to tests beside twice what they took alone: a test that hangs has noticed the
	// mutant.
	slack = 20 * time.Second
)

var errNoTests = errors.New("no test passes without a mutant")

func (p *pack) numbers() []int { return slices.Sorted(maps.Keys(p.drawn)) }

// survey runs every short test alone, without a mutant. One that fails can notice nothing and is
// left out.
func (p *pack) survey() ([]test, error) {
	pattern := "."
	if p.o.run != "" {
		pattern = p.o.run
	}
	out, err := exec.CommandContext(context.Background(), p.program(), "-test.list", pattern).Output() //nolint:gosec // it was built here
	if err != nil {
		return nil, fmt.Errorf("list the tests: %w", err)
	}
	var tests []test
	for _, name := range lines(out) {
		if name != "" && !strings.HasPrefix(name, "Benchmark") {
			tests = append(tests, test{name: name})
		}
	}
	p.each(len(tests), func(i int) { p.try(&tests[i], strconv.Itoa(i)) })
	all := tests
	tests = slices.DeleteFunc(slices.Clone(tests), func(t test) bool { return t.err != nil })
	for _, t := range all {
		if t.err != nil {
			fmt.Fprintf(p.out, "left out\t%v\n", t.err)
		}
	}
	if len(tests) == 0 {
		return nil, errNoTests
	}
	slices.SortFunc(tests, func(a, b test) int { return int(a.took - b.took) })
	slowest := tests[len(tests)-1]
	fmt.Fprintf(p.out, "%s: %d tests, the slowest is %s with %s\n", p.folder, len(tests), slowest.name, slowest.took.Round(time.Second/10))
	return tests, nil
}

// try runs one test without a mutant, twice if it fails.
func (p *pack) try(t *test, place string) {
	for range 2 {
		reached := filepath.Join(p.dir, "reached."+place)
		began := time.Now()
		report, err := p.run(0, reached, 10*time.Minute, t.name)
		t.took = time.Since(began)
		t.reaches = make(map[int]bool)
		data, _ := os.ReadFile(reached) //nolint:gosec // it is not there when nothing was reached
		for _, l := range lines(data) {
			if n, err := strconv.Atoi(l); err == nil {
				t.reaches[n] = true
			}
		}
		if t.err = nil; err == nil {
			return
		}
		t.err = fmt.Errorf("%s fails without a mutant: %w\n%s", t.name, err, report)
	}
}

// noticed reports whether a test fails with a mutant.
func (p *pack) noticed(n int) bool {
	var names []string
	took, most := time.Duration(0), first
	flush := func() bool {
		if len(names) == 0 {
			return false
		}
		_, err := p.run(n, "", 2*took+slack, names...)
		names, took, most = nil, 0, next
		return err != nil
	}
	for _, t := range p.tests {
		if !t.reaches[n] {
			continue
		}
		names, took = append(names, t.name), took+t.took
		if took > most && flush() {
			return true
		}
	}
	return flush()
}

// run runs tests with a mutant, in the package's folder.
func (p *pack) run(n int, reached string, patience time.Duration, names ...string) (report []byte, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience+time.Minute) // the program ends itself before
	defer cancel()
	c := exec.CommandContext(ctx, p.program(), "-test.short", "-test.failfast", "-test.timeout="+patience.String(), "-test.run=^("+strings.Join(names, "|")+")$") //nolint:gosec // it was built here
	c.Dir = p.folder
	c.WaitDelay = time.Second
	c.Env = append(os.Environ(), "RAPID_NOFAILFILE=true", mutants.On+"="+strconv.Itoa(n), mutants.Reached+"="+reached)
	return c.CombinedOutput()
}
