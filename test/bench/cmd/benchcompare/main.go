// Command benchcompare measures how fast Tapline's shipper, rsyslog and syslog-ng bring the same
// rows to the same sink, and prints tables; see package compare. `make bench-compare` runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/tapline/tapline/test/acceptance/interop"
	"github.com/tapline/tapline/test/bench/compare"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchcompare:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	o := compare.Options{Log: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }}
	flags := flag.NewFlagSet("benchcompare", flag.ContinueOnError)
	installed := flags.String("installed", "bin/interop", "where test/acceptance/interop/install.sh has put rsyslog and syslog-ng")
	dir := flags.String("dir", "", "directory for streams, queues and rows, about 2 GB; the system's for temporary files if empty")
	flags.IntVar(&o.Rows, "rows", 200_000, "rows that are drained in one run")
	flags.IntVar(&o.Through, "through", 0, "rows that go through a store in one run; a quarter of --rows if 0")
	flags.IntVar(&o.Runs, "runs", 5, "runs of each")
	flags.StringVar(&o.Only, "only", "", "only those whose name contains this")
	flags.DurationVar(&o.Patience, "patience", 30*time.Second, "end a run when no row comes for so long")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.Through == 0 {
		o.Through = max(1, o.Rows/4)
	}
	if o.Rows < 1 || o.Through < 1 || o.Runs < 1 {
		return fmt.Errorf("--rows %d --through %d --runs %d: %w", o.Rows, o.Through, o.Runs, errRange)
	}
	path, err := filepath.Abs(*installed)
	if err != nil {
		return err
	}
	o.Installed = interop.Installed(path)
	if o.Dir, err = os.MkdirTemp(*dir, "benchcompare-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.Dir)) }()
	before := load()
	results, err := compare.Compare(ctx, o)
	if err != nil {
		return err
	}
	fmt.Printf("%d runs of each; %d rows drained, %d rows through a store; %d cores; load %s before, %s after\n", o.Runs, o.Rows, o.Through, runtime.NumCPU(), before, load())
	versions(ctx, o.Installed)
	return compare.Table(os.Stdout, results)
}

var errRange = errors.New("want at least 1 of each")

// load of the machine in the last minute.
func load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(data), " ")
	return one
}

// versions prints what each program calls itself.
func versions(ctx context.Context, at interop.Installed) {
	fmt.Println(runtime.Version())
	for _, args := range [][]string{{at.Program("rsyslogd"), "-v"}, {at.Program("syslog-ng"), "--version"}} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // programs that we compare
		cmd.Env = at.Environ()
		out, err := cmd.Output()
		first, _, _ := strings.Cut(string(out), "\n")
		if err != nil && first == "" {
			first = fmt.Sprintf("%s: %v", args[0], err)
		}
		fmt.Println(strings.TrimSuffix(first, " compiled with:"))
	}
}
