package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tapline/tapline/test/torture"
)

// tally is what the runs of one step found.
type tally struct{ runs, killed, missing, resent, reread, failed int }

// steps are those that are asked for.
func (s *settings) steps() ([]torture.Step, error) {
	root, err := torture.Root()
	if err != nil {
		return nil, err
	}
	steps, err := torture.Steps(root)
	return slices.DeleteFunc(steps, func(step torture.Step) bool { return !strings.Contains(step.String(), s.step) }), err
}

// matrix kills each program at each of its steps, again and again.
func (s *settings) matrix(ctx context.Context) error {
	if s.crashArg != "" {
		return s.again(ctx)
	}
	all, err := s.steps()
	if err != nil {
		return err
	}
	reached, err := s.baseline(ctx)
	if err != nil {
		return err
	}
	possible := func(step torture.Step) bool { return reached[torture.AllWork][step] || torture.Possible(step) }
	never := slices.DeleteFunc(slices.Clone(all), possible)
	steps := torture.Alternate(slices.DeleteFunc(slices.Clone(all), func(step torture.Step) bool { return !possible(step) }))
	fmt.Printf("%d steps; passed only after a kill or never: %v\n", len(steps), never)
	tallies := make(map[torture.Step]*tally)
	for _, step := range steps {
		tallies[step] = &tally{}
	}
	var (
		mu       sync.Mutex
		wg       sync.WaitGroup
		problems []error
		numbers  = make(chan int)
	)
	start := time.Now()
	for range s.parallel {
		wg.Go(func() {
			for n := range numbers {
				r, err := s.crash(ctx, torture.CrashOf(n, steps, all, reached))
				mu.Lock()
				if err != nil {
					problems = append(problems, err)
				} else {
					tallies[r.Crash.Step].add(r)
				}
				mu.Unlock()
			}
		})
	}
	for n := int(s.seed); n < int(s.seed)+s.runs && ctx.Err() == nil; n++ {
		numbers <- n
	}
	close(numbers)
	wg.Wait()
	return summary(steps, tallies, problems, time.Since(start))
}

func (t *tally) add(r *torture.CrashResult) {
	t.runs++
	t.killed += r.Kills
	if r.Failed() {
		t.failed++
	}
	t.missing, t.resent, t.reread = t.missing+r.Missing, t.resent+r.Resent, t.reread+r.Reread
}

// again plays the one crash that a report named.
func (s *settings) again(ctx context.Context) error {
	c, err := torture.ParseCrash(s.crashArg)
	if err != nil {
		return err
	}
	r, err := s.crash(ctx, c)
	if err != nil {
		return err
	}
	t := &tally{}
	t.add(r)
	return summary([]torture.Step{c.Step}, map[torture.Step]*tally{c.Step: t}, nil, 0)
}

// baseline makes a run without a kill for each sink with all work, and one for each other kind, and
// gives the steps that were passed.
func (s *settings) baseline(ctx context.Context) (map[torture.Work]map[torture.Step]bool, error) {
	var (
		mu      sync.Mutex
		runs    errgroup.Group
		reached = make(map[torture.Work]map[torture.Step]bool)
	)
	runs.SetLimit(s.parallel)
	for seed, work := range []torture.Work{torture.AllWork, torture.AllWork, torture.AllWork, torture.SIEMWork, torture.ListWork} {
		runs.Go(func() error {
			passed, err := s.passed(ctx, torture.Crash{Seed: uint64(seed), Work: work})
			mu.Lock()
			defer mu.Unlock()
			if reached[work] == nil {
				reached[work] = make(map[torture.Step]bool)
			}
			maps.Copy(reached[work], passed)
			return err
		})
	}
	return reached, runs.Wait()
}

// passed makes a run without a kill and gives the steps that were passed.
func (s *settings) passed(ctx context.Context, c torture.Crash) (map[torture.Step]bool, error) {
	o := s.options(fmt.Sprintf("baseline-%d", c.Seed))
	r, err := torture.RunCrash(ctx, c, o)
	if err != nil {
		return nil, err
	}
	if r.Failed() {
		return nil, fmt.Errorf("without any kill: %v: %w", r.Problems, errFailed)
	}
	return torture.Reached(o.Dir)
}

// crash makes one run and tells of it if it failed.
func (s *settings) crash(ctx context.Context, c torture.Crash) (*torture.CrashResult, error) {
	o := s.options(fmt.Sprintf("crash-%d", c.Seed))
	r, err := torture.RunCrash(ctx, c, o)
	if err != nil {
		return r, fmt.Errorf("%s: %w", c, err)
	}
	if s.verbose {
		fmt.Printf("%s: %d kills, %d rows, %d missing, %d resent, %d read twice, %s\n", c, r.Kills, r.Rows, r.Missing, r.Resent, r.Reread, r.Drain)
	}
	if !r.Failed() {
		return r, os.RemoveAll(o.Dir)
	}
	fmt.Printf("%s FAILED: %s\n  logs: %s\n  again: go run ./test/torture/cmd/torture matrix --crash '%s' -v\n  %v\n",
		c, strings.Join(r.Problems, "; "), o.Dir, c.Arg(), r.Blame)
	return r, nil
}

// summary prints the table of the matrix.
func summary(steps []torture.Step, tallies map[torture.Step]*tally, problems []error, took time.Duration) error {
	var all tally
	fmt.Println("| step | runs | kills | missing | sent twice | read twice |")
	fmt.Println("| --- | --- | --- | --- | --- | --- |")
	for _, step := range steps {
		t := tallies[step]
		all.runs, all.killed, all.missing, all.resent, all.reread, all.failed = all.runs+t.runs, all.killed+t.killed, all.missing+t.missing, all.resent+t.resent, all.reread+t.reread, all.failed+t.failed
		fmt.Printf("| %s | %d | %d | %d | %d | %d |\n", step, t.runs, t.killed, t.missing, t.resent, t.reread)
	}
	fmt.Printf("| all | %d | %d | %d | %d | %d |\n\n", all.runs, all.killed, all.missing, all.resent, all.reread)
	fmt.Printf("%d runs in %s, %d of them failed\n", all.runs, took.Round(time.Second), all.failed)
	for _, err := range problems {
		fmt.Println("not made:", err)
	}
	if all.failed > 0 || len(problems) > 0 {
		return errFailed
	}
	return nil
}
