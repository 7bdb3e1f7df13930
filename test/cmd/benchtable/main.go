// Command benchtable turns the output of `go test -bench` on standard input into
// one Markdown table, with the machine it was made on. Whatever is not a result, such as
// a failure, is passed on to standard error.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strings"
	"text/tabwriter"
)

func main() {
	if err := run(os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "benchtable:", err)
		os.Exit(1)
	}
}

// result is one line of the table.
type result struct {
	pkg, name string
	values    []string // "number unit"
}

// parse reads a line such as "BenchmarkX-2  100  12 ns/op  3 MB/s".
func parse(pkg, line string) (result, bool) {
	fields := strings.Fields(line)
	if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
		return result{}, false
	}
	name := strings.TrimPrefix(fields[0], "Benchmark")
	if i := strings.LastIndexByte(name, '-'); i > 0 {
		name = name[:i]
	}
	r := result{pkg: path.Base(pkg), name: name}
	for i := 2; i+1 < len(fields); i += 2 {
		r.values = append(r.values, fields[i]+" "+fields[i+1])
	}
	return r, true
}

func run(in io.Reader, out, rest io.Writer) error {
	var results []result
	pkg, cpu, failed := "", "unknown processor", false
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		line := lines.Text()
		if after, ok := strings.CutPrefix(line, "pkg: "); ok {
			pkg = after
		} else if after, ok := strings.CutPrefix(line, "cpu: "); ok {
			cpu = after
		} else if r, ok := parse(pkg, line); ok {
			results = append(results, r)
		} else if strings.Contains(line, "FAIL") {
			failed = true
			fmt.Fprintln(rest, line)
		} else if !quiet(line) {
			fmt.Fprintln(rest, line)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s, %d cores, %s\n\n", cpu, runtime.NumCPU(), runtime.Version())
	table := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	fmt.Fprintln(table, "| package\t| benchmark\t| results\t|")
	fmt.Fprintln(table, "| ---\t| ---\t| ---\t|")
	for _, r := range results {
		fmt.Fprintf(table, "| %s\t| %s\t| %s\t|\n", r.pkg, r.name, strings.Join(r.values, ", "))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if failed {
		return errors.New("some benchmarks failed, see above")
	}
	return nil
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
