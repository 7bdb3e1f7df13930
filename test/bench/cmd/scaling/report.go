package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// report prints the tables of docs/sizing.md.
func report(w io.Writer, points []point) {
	m := fit(points)
	for _, group := range groups {
		mine := slices.DeleteFunc(slices.Clone(points), func(p point) bool { return p.Group != group })
		if len(mine) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n## %s\n\n", group)
		switch group {
		case "rate":
			rates(w, m, mine)
		case "tenants":
			tenants(w, m, mine)
		case "replicas":
			replicas(w, m, mine)
		case "memory":
			memories(w, mine)
		}
	}
	fmt.Fprintf(w, "\nmodel: %.2f s + the longest of: rows x %.1f us (one process) or %.1f us (separate processes); "+
		"calls / fetchers, rounded up, x (latency + %.2f s); rows x bytes x settle / (in flight x shippers)\n",
		m.fixed, 1e6*m.inOne, 1e6*m.separate, m.perCall)
}

// header prints the first two lines of a table.
func header(w io.Writer, columns ...string) {
	fmt.Fprintf(w, "| %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat(" ---: |", len(columns)))
}

// against is what was measured, what the model says, and how far it is off, in rows a second.
func (m model) against(p point) string {
	measured, predicted := float64(p.rows())/p.Elapsed, float64(p.rows())/m.seconds(p)
	mark := ""
	if p.fitted() {
		mark = " (fitted)"
	}
	return fmt.Sprintf("%.0f | %.0f%s | %+.0f %%", measured, predicted, mark, 100*(predicted/measured-1))
}

func rates(w io.Writer, m model, points []point) {
	header(w, "R", "rows", "rows/s", "by the formula", "off by", "us of a core for a row", "peak MiB", "MiB 35 s later",
		"of a core at that rate", "RAW B/record", "EVENTS B/row", "load")
	var rows, work, pace, share []float64
	for _, p := range points {
		f, r := p.Fill[0], p.Rest[0]
		fmt.Fprintf(w, "| %d | %d | %s | %.0f | %.0f | %.0f | %.1f %% | %.0f | %.0f | %s |\n", p.Setting.PerHour, f.Rows, m.against(p),
			1e6*cpu(p.Fill)/float64(f.Rows), f.Memory["tapline"], r.Memory["tapline"], 100*cpu(p.Rest)/r.Seconds,
			f.Disk["RAW"]/float64(f.Rows), f.Disk["EVENTS"]/float64(f.Rows), p.Load)
		rows, work = append(rows, float64(f.Rows)), append(work, cpu(p.Fill))
		pace, share = append(pace, float64(r.Rows)/r.Seconds), append(share, cpu(p.Rest)/r.Seconds)
	}
	a, b := line(rows, work)
	i, c := line(pace, share)
	fmt.Fprintf(w, "\nprocessor time of a backfill: %.2f s + %.1f us a row; afterwards: %.1f %% of a core + %.0f us a row\n", a, 1e6*b, 100*i, 1e6*c)
}

func tenants(w io.Writer, m model, points []point) {
	header(w, "tenants", "rows", "rows/s", "by the formula", "off by", "us of a core for a row", "peak MiB of each", "MiB of each 35 s later",
		"of all", "of a core for each, later", "rows/s of all, later", "load")
	for _, p := range points {
		n, rows, sum := float64(len(p.Fill)), int64(0), 0.0
		for _, r := range p.Rest {
			rows, sum = rows+r.Rows, sum+r.Memory["tapline"]
		}
		fmt.Fprintf(w, "| %.0f | %d | %s | %.0f | %s | %s | %.0f | %.1f %% | %.0f | %s |\n", n, p.rows(), m.against(p), 1e6*cpu(p.Fill)/float64(p.rows()),
			span(p.Fill), span(p.Rest), sum, 100*cpu(p.Rest)/p.Rest[0].Seconds/n, float64(rows)/p.Rest[0].Seconds, p.Load)
	}
}

// span is the smallest and the largest memory of tenants.
func span(samples []sample) string {
	var all []float64
	for _, s := range samples {
		all = append(all, s.Memory["tapline"])
	}
	if len(all) == 1 {
		return fmt.Sprintf("%.0f", all[0])
	}
	return fmt.Sprintf("%.0f to %.0f", slices.Min(all), slices.Max(all))
}

// programs are those that run when stages are apart, in the order of the tables.
var programs = []string{"natsserver", "scheduler", "fetcher", "enricher", "shipper"}

func replicas(w io.Writer, m model, points []point) {
	header(w, append([]string{"fetchers", "enrichers", "shippers", "bound by", "rows/s", "by the formula", "off by", "us of a core for a row"},
		append(slices.Clone(programs), "load")...)...)
	for _, p := range points {
		s, rows := p.Setting, float64(p.rows())
		fmt.Fprintf(w, "| %d | %d | %d | %s | %s | %.0f |", s.Fetchers, s.Enrichers, s.Shippers, p.Name, m.against(p), 1e6*cpu(p.Fill)/rows)
		for _, program := range programs {
			fmt.Fprintf(w, " %.1f |", 1e6*p.Fill[0].CPU[program]/rows)
		}
		fmt.Fprintf(w, " %s |\n", p.Load)
	}
}

// hand is what a program may have in hand at once, for each budget.
type hand struct {
	program, what string
	of            func(budget) float64 // MiB
	fitted        int                  // budgets from the smallest on that a line is laid through; a shipper does not use up the largest
}

var hands = []hand{
	{"fetcher", "`FETCHER_SPOOL_MEMORY`", func(b budget) float64 { return float64(b.spool) / (1 << 20) }, 4},
	{"enricher", "`ENRICHER_WORKERS` of `BATCH_BYTES`", func(b budget) float64 { return float64(b.workers) / 2 }, 4},
	{"shipper", "`SHIPPER_MAX_INFLIGHT_BYTES`", func(b budget) float64 { return float64(b.inFlight) / (1 << 20) }, 3},
}

// memories sets the peak of each program beside a line through what it may have in hand.
func memories(w io.Writer, points []point) {
	header(w, "program", "what it may have in hand", "MiB of it", "peak MiB", "by the formula", "off by", "load")
	for _, h := range hands {
		var xs, ys []float64
		for _, p := range points {
			i := slices.IndexFunc(budgets, func(b budget) bool { return b.name == p.Name })
			xs, ys = append(xs, h.of(budgets[i])), append(ys, p.Fill[0].Memory[h.program])
		}
		n := min(h.fitted, len(xs))
		a, b := line(xs[:n], ys[:n])
		for i, x := range xs {
			formula := "left out |"
			if i < n {
				formula = fmt.Sprintf("%.0f = %.0f + %.1f x %.1f | %+.0f %%", a+b*x, a, b, x, 100*((a+b*x)/ys[i]-1))
			}
			fmt.Fprintf(w, "| %s | %s | %.1f | %.0f | %s | %s |\n", h.program, h.what, x, ys[i], formula, points[i].Load)
		}
	}
	for _, p := range points {
		fmt.Fprintf(w, "| natsserver | with the budgets %s | | %.0f | | | %s |\n", p.Name, p.Fill[0].Memory["natsserver"], p.Load)
	}
}
