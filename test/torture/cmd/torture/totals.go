package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tapline/tapline/test/torture"
)

// totals add runs up: how often each fault was tried, and what was duplicated during it.
type totals struct {
	runs, failed, records, rows, missing, resent, reread int
	looks, lies                                          int
	length                                               time.Duration
	tried, again                                         map[string]int
	without                                              string
}

func newTotals() *totals { return &totals{tried: make(map[string]int), again: make(map[string]int)} }

func (t *totals) add(p torture.Plan, r *torture.Result) {
	t.runs++
	if r.Failed() {
		t.failed++
	}
	t.records, t.rows, t.missing, t.resent, t.reread = t.records+r.Records, t.rows+r.Rows, t.missing+r.Missing, t.resent+r.Resent, t.reread+r.Reread
	t.looks, t.lies = t.looks+r.Looks, t.lies+r.Lies
	t.length += p.Length
	t.without = cmp.Or(t.without, r.Without)
	for _, a := range p.Actions {
		t.tried[a.Kind()]++
	}
	for what, n := range r.Blame {
		for _, prefix := range []string{"resent during ", "read twice during "} {
			if kind, ok := strings.CutPrefix(what, prefix); ok {
				t.again[kind] += n
			}
		}
	}
}

// print writes the table that docs/reliability.md shows.
func (t *totals) print() {
	fmt.Printf("%d runs, %s of torture, %d records, %d rows, %d missing, %d resent, %d read twice, %d lies at %d looks, %d runs failed\n\n",
		t.runs, t.length, t.records, t.rows, t.missing, t.resent, t.reread, t.lies, t.looks, t.failed)
	if t.without != "" {
		fmt.Printf("no disk filled up, and power cuts lost only what was in memory: %s\n\n", t.without)
	}
	fmt.Println("| fault | times | rows that came again during it |")
	fmt.Println("| --- | --- | --- |")
	for _, kind := range slices.Sorted(maps.Keys(t.tried)) {
		fmt.Printf("| %s | %d | %d |\n", kind, t.tried[kind], t.again[kind])
	}
}
