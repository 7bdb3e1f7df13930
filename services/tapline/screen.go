package tapline

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/term"

	"github.com/tapline/tapline/pkg/feed"
)

// screen shows progress: a table that is drawn again on a terminal, a line now and then elsewhere.
// What it shows comes from the public metrics.
type screen struct {
	out      io.Writer
	metrics  prometheus.Gatherer
	speed    float64
	terminal bool
	began    time.Time
	drawn    int // lines of the table on the terminal
	lined    time.Time
	families map[string]*dto.MetricFamily
}

func newScreen(out io.Writer, metrics prometheus.Gatherer, o DemoOptions) *screen {
	s := &screen{out: out, metrics: metrics, speed: o.Speed, began: time.Now()}
	if f, ok := out.(*os.File); ok {
		s.terminal = term.IsTerminal(int(f.Fd()))
	}
	if !s.terminal {
		_, _ = fmt.Fprintln(out, "feed fetched/shipped/confirmed, lag from the pull to the confirmation:")
	}
	return s
}

const lineEvery = 5 * time.Second

// follow shows progress for a time.
func (s *screen) follow(ctx context.Context, d time.Duration) {
	over := time.NewTimer(d)
	defer over.Stop()
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-over.C:
			s.draw()
			return
		case <-ticker.C:
			s.draw()
		}
	}
}

// gather reads the metrics.
func (s *screen) gather() {
	families, err := s.metrics.Gather()
	if err != nil {
		return // what was read last is shown again
	}
	s.families = make(map[string]*dto.MetricFamily)
	for _, f := range families {
		s.families[f.GetName()] = f
	}
}

// labels are wanted labels and their values.
type labels map[string]string

// sum adds up a metric over all series that have the labels.
func (s *screen) sum(name string, want labels) (total float64) {
	for _, m := range s.families[name].GetMetric() {
		have := 0
		for _, l := range m.GetLabel() {
			if value, ok := want[l.GetName()]; ok && value == l.GetValue() {
				have++
			}
		}
		if have == len(want) {
			total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return total
}

// row is the progress of one table.
type row struct {
	feed                        feed.Feed
	table                       string
	fetched, shipped, confirmed float64
	lag                         time.Duration
}

func (s *screen) rows() []row {
	var rows []row
	for _, f := range feed.All() {
		table := labels{"table": f.Table()}
		r := row{
			feed:      f,
			table:     f.Table(),
			shipped:   s.sum("tapline_shipper_events_shipped_total", table),
			confirmed: s.sum("tapline_shipper_events_confirmed_total", table),
		}
		for _, outcome := range []string{"new", "revision"} { // what sweeps read again goes no further
			r.fetched += s.sum("tapline_fetcher_records_total", labels{"feed": string(f), "fate": outcome})
		}
		lag := s.sum("tapline_shipper_last_lag_seconds", table) / s.speed
		r.lag = time.Duration(lag * float64(time.Second)).Round(time.Millisecond)
		rows = append(rows, r)
	}
	return rows
}

func (s *screen) draw() {
	s.gather()
	if s.terminal {
		s.table()
		return
	}
	if time.Since(s.lined) < lineEvery {
		return
	}
	s.lined = time.Now()
	var b strings.Builder
	fmt.Fprintf(&b, "%4.0fs", time.Since(s.began).Seconds())
	for _, r := range s.rows() {
		fmt.Fprintf(&b, "  %s %.0f/%.0f/%.0f lag %s", r.feed, r.fetched, r.shipped, r.confirmed, r.lag)
	}
	_, _ = fmt.Fprintln(s.out, b.String())
}

func (s *screen) table() {
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.drawn)
	}
	s.drawn = 0
	line := func(format string, args ...any) {
		fmt.Fprintf(&b, format+"\x1b[K\n", args...)
		s.drawn++
	}
	line("%-46s %10s %10s %10s %8s", fmt.Sprintf("table  (%.0f s)", time.Since(s.began).Seconds()), "fetched", "shipped", "confirmed", "lag")
	for _, r := range s.rows() {
		line("%-46s %10.0f %10.0f %10.0f %8s", r.table, r.fetched, r.shipped, r.confirmed, r.lag)
	}
	_, _ = fmt.Fprint(s.out, b.String())
}

func (s *screen) settling(a Account) {
	s.drawn = 0
	_, _ = fmt.Fprintf(s.out, "time is over; waiting for %d records that are visible and not delivered yet, and the rows of %d threats and campaigns\n", a.Missing, a.Unnamed)
}
