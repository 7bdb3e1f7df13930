package fetcher_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/window"
	"github.com/tapline/tapline/services/fetcher/internal/bound"
)

// crowd is an API that has as many records a minute as is wanted.
type crowd struct {
	*bench
	minute atomic.Int64
	calls  atomic.Int64
}

func newCrowd(t *testing.T) *crowd {
	t.Helper()
	c := &crowd{bench: newBench(t, nil)}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/v2/siem") {
			c.sim.ServeHTTP(w, r)
			return
		}
		c.calls.Add(1)
		w.Header().Set("Date", c.now().UTC().Format(http.TimeFormat))
		first, last, _ := strings.Cut(r.URL.Query().Get("interval"), "/")
		start, _ := time.Parse(time.RFC3339, first)
		end, _ := time.Parse(time.RFC3339, last)
		records := strings.Repeat(`{"id":"1"},`, int(c.minute.Load()*int64(end.Sub(start)/time.Minute)))
		fmt.Fprintf(w, `{"queryEndTime":%q,"clicksBlocked":[],"clicksPermitted":[%s{"id":"1"}],"messagesBlocked":[],"messagesDelivered":[]}`, last, records)
	}))
	t.Cleanup(api.Close)
	c.url = api.URL
	return c
}

// read has a window read as the scheduler would: what is cut in halves. It reports the calls that
// this took.
func (c *crowd) read(t *testing.T, w window.Window) int64 {
	t.Helper()
	before := c.calls.Load()
	j := c.job(w, 0)
	c.plan(t, j)
	switch r := c.record(t, j); r.GetState() {
	case fetched:
	case split:
		first, second, _ := w.Halves()
		c.read(t, first)
		c.read(t, second)
	default:
		t.Errorf("%s: %v", w, r)
	}
	return c.calls.Load() - before
}

// TestDenseHoursCostOneCallInVain: hours that bring more than an answer may have are cut before the
// call, once one was too large, also after a restart. When they bring less, they are read whole
// again, also after a burst that had all windows cut that are long enough to tell.
func TestDenseHoursCostOneCallInVain(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	stop := c.start(t, "FETCHER_WORKERS=1")
	start := c.window.Start.Truncate(time.Hour).Add(-24 * time.Hour)
	hour := func(n int) window.Window {
		return window.New(start.Add(time.Duration(n)*time.Hour), start.Add(time.Duration(n+1)*time.Hour))
	}
	const much, most = bound.Records * 3 / 2 / 60, bound.Records / 60
	for n, step := range []struct {
		minute, calls int64
		restart       bool
		burst         bool // of a quarter of an hour
	}{
		{minute: much, calls: 3}, // in vain, and two halves
		{minute: much, calls: 2, restart: true},
		{minute: 5 * most, calls: 3, burst: true}, // from now on, quarters are too long
		{minute: most / 10, calls: 4},             // an eighth shows that there is less, a quarter how much
		{minute: most / 10, calls: 1},             // whole again
		{minute: most * 19 / 20, calls: 1},        // just fits
		{minute: much, calls: 2},                  // so the next one was not asked for whole
	} {
		if step.restart {
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			stop = c.start(t, "FETCHER_WORKERS=1")
		}
		c.minute.Store(step.minute)
		w := hour(n)
		if step.burst {
			w = window.New(w.Start, w.Start.Add(15*time.Minute))
		}
		if calls := c.read(t, w); calls != step.calls {
			t.Errorf("hour %d: %d calls, want %d", n, calls, step.calls)
		}
	}
}
