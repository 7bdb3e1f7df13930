package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/tapline/tapline/test/torture"
)

// run plays the plans of seeds.
func (s *settings) run(ctx context.Context) error {
	var failed []uint64
	totals := newTotals()
	for seed := s.seed; seed < s.seed+uint64(s.seeds) && ctx.Err() == nil; seed++ {
		p := torture.NewPlan(seed, s.length)
		bad, err := s.one(ctx, p, totals)
		if err != nil {
			return err
		}
		if bad {
			failed = append(failed, seed)
		}
	}
	totals.print()
	if len(failed) == 0 {
		return ctx.Err()
	}
	if s.keep != "" {
		if err := keep(s.keep, failed, s.length); err != nil {
			return err
		}
	}
	return fmt.Errorf("seeds %v: %w", failed, errFailed)
}

// play plays the plan of a file.
func (s *settings) play(ctx context.Context) error {
	if len(s.args) != 1 {
		return fmt.Errorf("want one file: %w", errFailed)
	}
	file, err := os.Open(s.args[0])
	if err != nil {
		return err
	}
	defer file.Close()
	p, err := torture.ReadPlan(file)
	if err != nil {
		return err
	}
	bad, err := s.one(ctx, p, newTotals())
	if err == nil && bad {
		err = errFailed
	}
	return err
}

// one plays one plan, tells of it, and looks for a shorter one if it fails.
func (s *settings) one(ctx context.Context, p torture.Plan, t *totals) (bad bool, err error) {
	name := fmt.Sprintf("seed-%d", p.Seed)
	r, err := torture.Run(ctx, p, s.options(name))
	if err != nil {
		return false, err
	}
	t.add(p, r)
	fmt.Printf("seed %d: %d actions, %d records, %d rows, %d missing, %d resent, %d read twice, %d replayed, complete %s after, %d exits, %d lies at %d looks; %s\n",
		p.Seed, r.Actions, r.Records, r.Rows, r.Missing, r.Resent, r.Reread, r.Replayed, r.Drain, r.Exits, r.Lies, r.Looks, r.Profile)
	if b := r.ReadBack; b.Rounds > 0 {
		fmt.Printf("  read back %d times: %d rows named missing, %d repairs sent %d rows, %d more than confirmed at the end\n", b.Rounds, b.Missing, b.Repairs, b.Repaired, b.Doubled)
	}
	if r.Taken != "" {
		fmt.Printf("  taken over: %s\n", r.Taken)
	}
	if r.Told != "" {
		fmt.Printf("  told: %.300s\n", r.Told)
	}
	if s.verbose {
		for _, what := range slices.Sorted(maps.Keys(r.Blame)) {
			fmt.Printf("  %4d %s\n", r.Blame[what], what)
		}
	}
	if !r.Failed() {
		return false, os.RemoveAll(s.options(name).Dir)
	}
	for _, problem := range r.Problems {
		fmt.Println("  FAILED:", problem)
	}
	dir := s.options(name).Dir
	fmt.Printf("  logs and plan: %s\n  again: go run ./test/torture/cmd/torture run --seed %d --length %s -v\n", dir, p.Seed, s.length)
	if s.shrink > 0 {
		short, err := torture.Shrink(ctx, p, s.shrink, s.options(name+"-shrink"))
		if err != nil {
			return true, err
		}
		fmt.Printf("  %d of %d actions still fail (torture play FILE):\n", len(short.Actions), len(p.Actions))
		if err := short.Write(os.Stdout); err != nil {
			return true, err
		}
	}
	return true, nil
}

// keep appends seeds to the file of regression cases.
func keep(path string, seeds []uint64, length time.Duration) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // the tester names it
	if err != nil {
		return err
	}
	defer file.Close()
	for _, seed := range seeds {
		if _, err := fmt.Fprintf(file, "%d %s\n", seed, length); err != nil {
			return err
		}
	}
	return nil
}
