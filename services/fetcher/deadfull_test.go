package fetcher_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// TestAFullDeadHoldsUpItsOwnOnly: a window with a malformed entry is set aside while DEAD is full,
// and says so; one without is read. With room again, the first one is read, too.
func TestAFullDeadHoldsUpItsOwnOnly(t *testing.T) {
	t.Parallel()
	b, faults := faulty(t)
	first := b.window
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", b.now().UTC().Format(http.TimeFormat))
		begin, end, _ := strings.Cut(r.URL.Query().Get("interval"), "/")
		entries := `{"id":"2"}`
		if begin == first.Start.Format(time.RFC3339) {
			entries = `{"id":"1"},"malformed"`
		}
		fmt.Fprintf(w, `{"queryEndTime":%q,"clicksBlocked":[%s],"clicksPermitted":[],"messagesBlocked":null,"messagesDelivered":[]}`, end, entries)
	}))
	t.Cleanup(api.Close)
	b.url = api.URL
	room := bustest.Fill(t, faults.Server, bus.StreamDead)
	b.start(t)
	malformed, clean := b.job(first, 0), b.job(window.New(first.Start.Add(-time.Hour), first.Start), 0)
	b.plan(t, malformed)
	r := b.record(t, malformed)
	if r.GetState() != taplinev1.WindowState_WINDOW_STATE_UNPROVEN || !strings.Contains(r.GetReason(), "STREAM_DEAD_MAX_BYTES") || r.GetFailures() != 3 {
		t.Errorf("%v", r)
	}
	b.plan(t, clean)
	if r := b.record(t, clean); r.GetState() != fetched || received(r) != 1 {
		t.Errorf("%v", r)
	}
	room()
	later := b.sweep(first)
	b.plan(t, later)
	if r := b.record(t, later); r.GetState() != fetched {
		t.Errorf("%v", r)
	}
}
