// Command torture tries to make Tapline lose a record; see package torture. The Makefile has verbs
// for its commands:
//
//	torture run --seed 1 --seeds 20 --length 30s     random actions, one world after the other
//	torture play FILE                                the actions of a file
//	torture matrix --runs 1000 --parallel 2          a kill at each named step
//	torture soak --factor 72                         a simulated day, undisturbed
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/tapline/tapline/test/torture"
)

var errFailed = errors.New("failed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		os.Exit(1)
	}
}

// settings are the flags of all commands.
type settings struct {
	dir, bin string
	seed     uint64
	seeds    int
	length   time.Duration
	runs     int
	parallel int
	shrink   int
	step     string
	crashArg string
	keep     string
	span     time.Duration
	factor   float64
	plot     string
	verbose  bool
	args     []string
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("want a command: run, play, matrix or soak: %w", flag.ErrHelp)
	}
	var s settings
	flags := flag.NewFlagSet("torture "+args[0], flag.ContinueOnError)
	flags.StringVar(&s.dir, "dir", "", "where logs go; a temporary directory if empty")
	flags.BoolVar(&s.verbose, "v", false, "print every action")
	flags.Uint64Var(&s.seed, "seed", 1, "the first seed")
	flags.IntVar(&s.seeds, "seeds", 1, "run: how many seeds")
	flags.DurationVar(&s.length, "length", 30*time.Second, "run: how long each seed is tortured")
	flags.IntVar(&s.runs, "runs", 100, "matrix: how many kills")
	flags.IntVar(&s.parallel, "parallel", 1, "matrix: worlds at once")
	flags.StringVar(&s.step, "step", "", "matrix: only steps whose name contains this")
	flags.StringVar(&s.crashArg, "crash", "", "matrix: only this crash, as a report names it")
	flags.IntVar(&s.shrink, "shrink", 0, "run, play: how many runs to spend on a shorter plan that fails, too")
	flags.StringVar(&s.keep, "keep", "", "run: append failing seeds to this file")
	flags.DurationVar(&s.span, "span", 24*time.Hour, "soak: how long, by the simulated clock")
	flags.Float64Var(&s.factor, "factor", 72, "soak: how much faster that is than the real one")
	flags.StringVar(&s.plot, "plot", "docs/soak.svg", "soak: where the plot goes")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	s.args = flags.Args()
	if s.dir == "" {
		var err error
		if s.dir, err = os.MkdirTemp("", "torture-"); err != nil {
			return err
		}
	}
	s.bin = filepath.Join(s.dir, "bin")
	if err := torture.Build(ctx, s.bin); err != nil {
		return err
	}
	switch args[0] {
	case "run":
		return s.run(ctx)
	case "play":
		return s.play(ctx)
	case "matrix":
		return s.matrix(ctx)
	case "soak":
		return s.soak(ctx)
	}
	return fmt.Errorf("unknown command %q: %w", args[0], flag.ErrHelp)
}

// options are those of one run.
func (s *settings) options(name string) torture.Options {
	start := time.Now()
	return torture.Options{Bin: s.bin, Dir: filepath.Join(s.dir, name), Log: func(format string, args ...any) {
		if s.verbose {
			fmt.Printf("  %7.3f "+format+"\n", append([]any{time.Since(start).Seconds()}, args...)...)
		}
	}}
}
