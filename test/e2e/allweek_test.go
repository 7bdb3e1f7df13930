package e2e_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/overview"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/tier"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/tapsim"
)

// TestAWeekOfEverything runs all eight feeds and forensics with Proofpoint's limits over a week of
// simulated time, six of whose days pass in three minutes: no pool is overrun, no 429 is self-made,
// every threat and campaign that is named has its rows, the lists of people are complete, reports
// are read, and the account of the ledger adds up.
func TestAWeekOfEverything(t *testing.T) {
	tier.OnlyLong(t, "a week takes minutes; test/torture/weeks lives through it in virtual time")
	t.Parallel()
	clock := &patientClock{}
	w := newWorldThat(t, devosink.Full, clock.before, func(c *tapsim.Config) {
		c.Clock = clock.now
		c.Rate, c.Factor, c.Age, c.IndexLag = 0.003, 4000, 24*time.Hour, time.Minute
		c.Threats, c.Campaigns, c.People = 1, 4, 20
	})
	address := freeAddress(t)
	// From the reservation of a call to its arrival the clock runs on: the margin allows a real
	// second for it.
	p := w.run(t, "NATS_LISTEN="+address, "QUOTA_MARGIN=1h", "TAP_FORENSICS=true", "EXPAND_RETRY_DELAY=10ms", "TAP_TIMEOUT=10s",
		"ALARM_FRESHNESS=168h", "ALARM_CLOCK_SKEW=168h", "EXPAND_REFRESH=480h")
	var at time.Time
	for day := range 7 {
		poll(t, "a day", func() bool { return w.sim.Now().Sub(w.sim.Epoch()) > time.Duration(day+1)*24*time.Hour })
		// A simulated hour in a second is more than one lane of a busy machine gets through: each
		// evening the clock waits for it, or the lane is days behind in the end.
		clock.begin()
		at = w.sim.Now().Add(-8 * time.Hour) // windows and lists lag behind
		w.complete(t, at)
		w.expanded(t, at)
		clock.end()
	}
	for pool, q := range w.sim.Status().Quota {
		if q.Refused > 0 || q.Used > q.Limit {
			t.Errorf("pool %s: %+v", pool, q)
		}
	}
	w.peopleComplete(t)
	w.reported(t)
	w.addsUp(t, address)
	if n := p.logs.count("goes to DEAD"); n > 0 {
		t.Errorf("%d ids went to DEAD", n)
	}
}

// verify looks at the account by the simulator's clock: tapctl goes by the real one, which a fast
// clock leaves behind.
func (w *world) verify(t *testing.T, address string) *overview.Report {
	t.Helper()
	b, err := bus.Connect(t.Context(), bus.Config{URL: "nats://" + address}, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var limits quota.Config
	if err := config.Load(&limits, nil); err != nil {
		t.Fatal(err)
	}
	r, err := overview.Open(t.Context(), b, "main", limits, w.sim.Now)
	if err != nil {
		t.Fatal(err)
	}
	report, err := r.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// addsUp checks the account of a week.
func (w *world) addsUp(t *testing.T, address string) {
	t.Helper()
	report := w.verify(t, address)
	for _, v := range report.Violations {
		t.Errorf("the ledger: %s", v)
	}
	for _, g := range report.Gaps {
		t.Errorf("a gap: %+v", g)
	}
	if report.Records < 1500 || report.Rows < report.Records/2 || report.Confirmed < report.Rows*9/10 {
		t.Errorf("%d records, %d rows, %d confirmed", report.Records, report.Rows, report.Confirmed)
	}
	t.Logf("%d records, %d rows, %d confirmed", report.Records, report.Rows, report.Confirmed)
}

// peopleComplete checks that each list has each person in each of the snapshots that are over.
func (w *world) peopleComplete(t *testing.T) {
	t.Helper()
	for call, f := range map[feed.Call]feed.Feed{feed.CallVAP: feed.PeopleVAP, feed.CallTopClickers: feed.PeopleTopClicks} {
		type key struct {
			days int
			day  string
		}
		have := make(map[key]map[string]bool)
		for _, r := range w.rows[f] {
			_, end, _ := strings.Cut(r.Interval, "/")
			k := key{r.Window, end[:len("2006-01-02")]}
			if have[k] == nil {
				have[k] = make(map[string]bool)
			}
			have[k][r.Identity.GUID] = true
		}
		if len(have) < 3*5 {
			t.Errorf("%s: %d snapshots in a week", f, len(have))
		}
		today := w.sim.Now().Format(time.DateOnly)
		for k, guids := range have {
			if want := w.sim.People(call, k.days, w.sim.Now()); len(guids) != len(want) && k.day != today {
				t.Errorf("%s over %d days on %s: %d people of %d", f, k.days, k.day, len(guids), len(want))
			}
		}
	}
}

// reported checks that there are reports; that they are read by importance is tested with the
// fetcher.
func (w *world) reported(t *testing.T) {
	t.Helper()
	reports := make(map[string]bool)
	for _, f := range []feed.Feed{feed.Threats, feed.Campaigns} {
		for _, r := range w.rows[f] {
			if r.Found != nil {
				reports[r.Scope+r.ID] = true
			}
		}
	}
	if len(reports) < 50 {
		t.Errorf("%d reports in a week", len(reports))
	}
}
