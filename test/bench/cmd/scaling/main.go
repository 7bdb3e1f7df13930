// Command scaling measures how speed, processor time and memory grow with the records of an hour,
// with tenants side by side, with replicas and with what a stage may have in hand, and sets the
// formulas of docs/sizing.md beside it.
//
//	scaling [--bin bin] [--points bin/scaling.json] [rate] [tenants] [replicas] [memory]
//
// Everything is a process of its own between stand-ins for Proofpoint and Devo. A point counts only
// when the sink has each record that the simulator made. What is measured replaces the same group
// in the file of points, so that a group can be measured alone; the tables are made of the whole
// file, and without measuring with the word report.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "scaling:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("scaling", flag.ContinueOnError)
	bin := flags.String("bin", "bin", "directory of the programs")
	file := flags.String("points", "bin/scaling.json", "file of the measured points")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted := flags.Args()
	if len(wanted) == 0 {
		wanted = groups
	}
	if slices.Equal(wanted, []string{"report"}) {
		wanted = nil
	}
	for _, g := range wanted {
		if !slices.Contains(groups, g) {
			return fmt.Errorf("group %q: want some of %q, or report alone: %w", g, groups, flag.ErrHelp)
		}
	}
	points, err := read(*file)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if !slices.Contains(wanted, g) {
			continue
		}
		points = slices.DeleteFunc(points, func(p point) bool { return p.Group == g })
		for _, plan := range plans(g) {
			p, err := plan.measure(ctx, *bin, g)
			if err != nil {
				return fmt.Errorf("%s %s: %w", g, plan.name, err)
			}
			points = append(points, p)
		}
		if err := write(*file, points); err != nil {
			return err
		}
	}
	report(os.Stdout, points)
	return nil
}

func read(file string) ([]point, error) {
	text, err := os.ReadFile(file) //nolint:gosec // the file that was asked for
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the points: %w", err)
	}
	var points []point
	if err := json.Unmarshal(text, &points); err != nil {
		return nil, fmt.Errorf("read the points in %s: %w", file, err)
	}
	return points, nil
}

func write(file string, points []point) error {
	text, err := json.MarshalIndent(points, "", " ")
	if err != nil {
		return fmt.Errorf("keep the points: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return fmt.Errorf("keep the points: %w", err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return fmt.Errorf("keep the points: %w", err)
	}
	return nil
}
