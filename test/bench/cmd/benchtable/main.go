// Command benchtable turns the output of `go test -bench` on standard input into
// two Markdown tables, with the machine it was made on: what was aimed at, each beside its
// ceiling, and everything. Of several runs of a benchmark it gives the median. Whatever is not
// a result, such as a failure, is passed on to standard error.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

func main() {
	if err := run(os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "benchtable:", err)
		os.Exit(1)
	}
}

// result is all runs of one benchmark.
type result struct {
	pkg, name string
	units     []string // in the order they were printed in
	values    map[string][]float64
}

// line reads a line such as "BenchmarkX-2  100  12 ns/op  3 MB/s".
func (t *table) line(pkg, text string) bool {
	fields := strings.Fields(text)
	if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
		return false
	}
	name := strings.TrimPrefix(fields[0], "Benchmark")
	if i := strings.LastIndexByte(name, '-'); i > 0 {
		name = name[:i]
	}
	r := t.find(path.Base(pkg), name)
	if r == nil {
		r = &result{pkg: path.Base(pkg), name: name, values: make(map[string][]float64)}
		t.results = append(t.results, r)
	}
	for i := 2; i+1 < len(fields); i += 2 {
		value, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return false
		}
		unit := fields[i+1]
		if len(r.values[unit]) == 0 {
			r.units = append(r.units, unit)
		}
		r.values[unit] = append(r.values[unit], value)
	}
	return true
}

// table is every result.
type table struct{ results []*result }

func (t *table) find(pkg, name string) *result {
	for _, r := range t.results {
		if r.pkg == pkg && r.name == name {
			return r
		}
	}
	return nil
}

// median is that of all runs; ok is false when there was none.
func (r *result) median(unit string) (value float64, ok bool) {
	if r == nil || len(r.values[unit]) == 0 {
		return 0, false
	}
	sorted := slices.Sorted(slices.Values(r.values[unit]))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2, true
}

// number is a value with about four digits that mean something.
func number(v float64) string {
	switch {
	case v >= 1000:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

func run(in io.Reader, out, rest io.Writer) error {
	var t table
	pkg, cpu, failed := "", "unknown processor", false
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		line := lines.Text()
		if after, ok := strings.CutPrefix(line, "pkg: "); ok {
			pkg = after
		} else if after, ok := strings.CutPrefix(line, "cpu: "); ok {
			cpu = after
		} else if !t.line(pkg, line) && !quiet(line) {
			failed = failed || strings.Contains(line, "FAIL")
			fmt.Fprintln(rest, line)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s, %d cores, %s\n\n", cpu, runtime.NumCPU(), runtime.Version())
	if err := errors.Join(t.goals(out), t.all(out)); err != nil {
		return err
	}
	if failed {
		return errors.New("some benchmarks failed, see above")
	}
	return nil
}

// goals prints what was aimed at, as far as it was measured.
func (t *table) goals(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "| what\t| goal\t| median\t| from - to\t| runs\t| ceiling\t|")
	fmt.Fprintln(w, "| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t|")
	for _, g := range aims {
		r := t.find(g.pkg, g.bench)
		median, ok := r.median(g.unit)
		if !ok {
			continue
		}
		runs := r.values[g.unit]
		ceiling := "-"
		if c, ok := t.find(g.pkg, g.ceiling).median(g.unit); ok {
			ceiling = fmt.Sprintf("%s: %s", g.beside, number(c))
		}
		fmt.Fprintf(w, "| %s\t| %s %s\t| %s\t| %s - %s\t| %d\t| %s\t|\n", g.what, g.goal, g.unit, number(median),
			number(slices.Min(runs)), number(slices.Max(runs)), len(runs), ceiling)
	}
	fmt.Fprintln(w)
	return w.Flush()
}

// all prints the medians of every benchmark.
func (t *table) all(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "| package\t| benchmark\t| medians\t|")
	fmt.Fprintln(w, "| ---\t| ---\t| ---\t|")
	for _, r := range t.results {
		var values []string
		for _, unit := range r.units {
			median, _ := r.median(unit)
			values = append(values, number(median)+" "+unit)
		}
		fmt.Fprintf(w, "| %s\t| %s\t| %s\t|\n", r.pkg, r.name, strings.Join(values, ", "))
	}
	return w.Flush()
}

// quiet reports lines that say nothing about results.
func quiet(line string) bool {
	for _, prefix := range []string{"goos:", "goarch:", "ok ", "PASS", "?", "testing:"} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return strings.TrimSpace(line) == "" || strings.Contains(line, "[no test files]")
}
