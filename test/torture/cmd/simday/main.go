// Command simday simulates the first day of a collector in virtual time and prints
// it as a table, for docs/day.md.
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/quota"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/tapsim"
	"github.com/tapline/tapline/test/torture/simulate"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

const (
	hours    = 24
	response = 2 * time.Second
	delivery = 1500 * time.Millisecond
)

func run(ctx context.Context, out io.Writer) error {
	c := tapsim.Default()
	c.Rate, c.Age = 0.2, 7*24*time.Hour
	o := simulate.Options{
		Sim: c, Start: time.Date(2026, 3, 2, 0, 0, 20, 0, time.UTC), Age: 7 * 24 * time.Hour, Poll: time.Minute,
		Sweeps: []time.Duration{35 * time.Minute, 6 * time.Hour, 24 * time.Hour}, Step: time.Second,
		Schedulers: 1, Fetchers: 1, Response: response, Delivery: delivery,
	}
	w, err := simulate.New(o)
	if err != nil {
		return err
	}
	if err := w.Run(ctx, hours*time.Hour+2*time.Minute); err != nil {
		return err
	}
	if len(w.Problems) > 0 {
		return fmt.Errorf("%s", w.Problems[0])
	}
	page(out, w, o)
	return nil
}

// hour is one line of the table.
type hour struct {
	calls map[taplinev1.Lane]int
	last  int // calls of the pool in the 24 hours before its end
	waits []time.Duration
}

func page(out io.Writer, w *simulate.World, o simulate.Options) {
	table := make([]hour, hours)
	for i := range table {
		table[i].calls = make(map[taplinev1.Lane]int)
		end := o.Start.Add(time.Duration(i+1) * time.Hour)
		for _, c := range w.Calls {
			if c.Pool == feed.PoolSIEM && c.At.Before(end) && c.At.After(end.Add(-quota.Period)) {
				table[i].last++
			}
		}
	}
	for _, c := range w.Calls {
		if i := int(c.At.Sub(o.Start) / time.Hour); i < hours {
			table[i].calls[c.Lane]++
		}
	}
	var all []time.Duration
	missing := 0
	for truth := range w.Sim.Truth(o.Start, o.Start.Add(hours*time.Hour)) {
		at := w.Deliveries[string(truth.Feed)+" "+truth.Key]
		i := int(truth.Visible.Sub(o.Start) / time.Hour)
		if i >= hours {
			continue
		}
		if len(at) != 1 {
			missing++
			continue
		}
		wait := at[0].Sub(truth.Visible)
		all, table[i].waits = append(all, wait), append(table[i].waits, wait)
	}
	head(out, o)
	for i, h := range table {
		say(out, "| %d | %d | %d | %d | %d | %d | %s | %s | %s |\n", i+1, h.calls[taplinev1.Lane_LANE_LIVE], h.calls[taplinev1.Lane_LANE_SWEEP],
			h.calls[taplinev1.Lane_LANE_BACKFILL], h.last, len(h.waits), share(h.waits, 50), share(h.waits, 99), share(h.waits, 100))
	}
	sum := make(map[taplinev1.Lane]int)
	for _, h := range table {
		for lane := range maps.Keys(h.calls) {
			sum[lane] += h.calls[lane]
		}
	}
	say(out, "| day | %d | %d | %d | %d | %d | %s | %s | %s |\n", sum[taplinev1.Lane_LANE_LIVE], sum[taplinev1.Lane_LANE_SWEEP],
		sum[taplinev1.Lane_LANE_BACKFILL], table[hours-1].last, len(all), share(all, 50), share(all, 99), share(all, 100))
	say(out, "\nRecords of the day that were not delivered exactly once: %d. Answers with 429: %d. Backfill of seven days was done after %s.\n",
		missing, w.Sim.Status().Quota[feed.PoolSIEM].Refused, w.BackfillAt.Sub(o.Start))
}

func head(out io.Writer, o simulate.Options) {
	say(out, `# A simulated day

The first day of a collector with the four SIEM feeds and the default limits, made by `+"`make day`"+`. Planner, account of calls and identity
are the product's own, Proofpoint is tapsim, time is virtual; a call takes %s, and %s pass until the sink has confirmed its rows, which are
assumptions (`+"`docs/benchmarks.md`"+` has measured ones). Limit: %d calls in 24 hours. A wait is the time from a record's becoming visible at
Proofpoint to its confirmation; the goal is a 99th percentile under 75 seconds.

| hour | live calls | sweep calls | backfill calls | calls in 24 h | records | wait p50 | wait p99 | wait max |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
`, response, delivery, o.Sim.LimitSIEM)
}

func share(waits []time.Duration, percent int) string {
	if len(waits) == 0 {
		return "-"
	}
	slices.SortFunc(waits, cmp.Compare[time.Duration])
	at := waits[min(len(waits)*percent/100, len(waits)-1)]
	return fmt.Sprintf("%.1f s", at.Seconds())
}

func say(out io.Writer, format string, args ...any) {
	if _, err := fmt.Fprintf(out, format, args...); err != nil {
		log.Fatal(err)
	}
}
