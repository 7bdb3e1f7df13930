package fetcher_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/services/fetcher"
	"github.com/tapline/tapline/services/tapsim"
)

// TestEachPlaceMayFail: whichever stream or bucket does not answer for a while, before its effect
// or after it, a window's records and dead letters are stored once, its account is complete, and a
// second reading finds the records known.
func TestEachPlaceMayFail(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]bustest.Call{
		"read LEDGER": bustest.Read(bus.BucketLedger), "write LEDGER": bustest.Write(bus.BucketLedger),
		"read SEEN": bustest.Read(bus.BucketSeen), "write SEEN": bustest.Write(bus.BucketSeen),
		"read QUOTA": bustest.Read(bus.BucketQuota), "store DEAD": bustest.Store(bus.StreamDead),
	} {
		for _, after := range []bool{false, true} {
			if after && strings.HasPrefix(name, "read") {
				continue // there is no difference
			}
			t.Run(name+map[bool]string{false: " before", true: " after"}[after], func(t *testing.T) {
				t.Parallel()
				b := newBench(t, func(c *tapsim.Config) { c.MalformedFraction = 0.05 })
				b.haste = 100
				var faults *bustest.Faults
				b.bus, faults = bustest.StartFaulty(t, quota.Seeds("main")...)
				fault := faults.Fail(call, bustest.Fault{Times: 2, After: after})
				b.start(t)
				job := b.job(b.window, 0)
				b.plan(t, job)
				fault.Await(t, 2)
				r := b.record(t, job)
				want := b.truth(b.window.Start, b.window.End)
				dead := int64(0)
				for _, f := range r.GetFeeds() {
					dead += f.GetDead()
					if f.GetReceived() != f.GetPublished()+f.GetDuplicate()+f.GetDead() {
						t.Errorf("%v", f)
					}
				}
				if r.GetState() != fetched || received(r) != want || dead == 0 || len(b.deadLetters(t)) != int(dead) || b.calls() > 3 {
					t.Errorf("%d calls, %d letters, %d records wanted: %v", b.calls(), len(b.deadLetters(t)), want, r)
				}
				again := b.sweep(b.window)
				b.plan(t, again)
				for _, f := range b.record(t, again).GetFeeds() {
					if f.GetPublished() > 0 {
						t.Errorf("read again: %v", f)
					}
				}
			})
		}
	}
}

// TestCheck says whether a credential is taken, and how far the clock is off.
func TestCheck(t *testing.T) {
	t.Parallel()
	sim, err := tapsim.New(tapsim.Default())
	if err != nil {
		t.Fatal(err)
	}
	api := httptest.NewServer(sim)
	t.Cleanup(api.Close)
	for name, c := range map[string]struct {
		secret, want string
		good         bool
	}{"good": {"demo", "takes the credential", true}, "wrong": {"wrong", "", false}} {
		a := fetcher.API{URL: api.URL, InsecureHTTP: true, Principal: "demo", Secret: config.Secret(c.secret), Timeout: time.Minute, IdleTimeout: time.Minute}
		said, err := fetcher.Check(t.Context(), a)
		if (err == nil) != c.good || !strings.Contains(said, c.want) {
			t.Errorf("%s: %q, %v", name, said, err)
		}
	}
	a := fetcher.API{URL: "http://127.0.0.1:1", Principal: "demo", Secret: config.Secret("demo"), Timeout: time.Second, IdleTimeout: time.Second}
	if said, err := fetcher.Check(t.Context(), a); err == nil {
		t.Errorf("nothing listens there: %q", said)
	}
}
