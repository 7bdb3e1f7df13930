package fetcher_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/alloctest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/fetcher/internal/bound"
	"github.com/tapline/tapline/services/tapsim"
)

// mostLive is how far the live heap may rise while an answer is taken: that of the fetcher, the bus
// and the simulator together.
const mostLive = 64 << 20

// TestHostileAnswersAreBounded: whatever is answered about one window, memory stays, the window
// says what was wrong with it, and another window is read meanwhile.
//
//nolint:paralleltest // it measures the process
func TestHostileAnswersAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		fault   tapsim.Fault
		environ string
		state   taplinev1.WindowState
		words   string // in the reason
		letters int    // in DEAD
	}{
		"a body without end":             {fault: tapsim.Fault{Kind: tapsim.FaultEndless}, state: split, words: "more than 268435456 bytes"},
		"a bomb":                         {fault: tapsim.Fault{Kind: tapsim.FaultBomb}, state: split, words: "were decompressed to more than"},
		"a byte at a time":               {fault: tapsim.Fault{Kind: tapsim.FaultTrickle, Delay: 20 * time.Millisecond}, environ: "TAP_IDLE_TIMEOUT=1s", state: split, words: "less than 1024 bytes of the body in 1s"},
		"a header of a MiB":              {fault: tapsim.Fault{Kind: tapsim.FaultHeaders}, state: split, words: "headers exceeded 65536 bytes"},
		"redirects without end":          {fault: tapsim.Fault{Kind: tapsim.FaultRedirect}, state: split, words: "302"},
		"brackets, 200 MiB of them":      {fault: tapsim.Fault{Kind: tapsim.FaultBrackets}, state: split, words: "were decompressed to more than"},
		"brackets":                       {fault: tapsim.Fault{Kind: tapsim.FaultBrackets, Size: 5 << 20}, state: fetched, letters: 3},
		"1.6 MiB of numbers":             {fault: tapsim.Fault{Kind: tapsim.FaultNonObjects}, state: split, words: "more entries are malformed than are kept"},
		"30 000 hours":                   {fault: tapsim.Fault{Kind: tapsim.FaultHours}, state: fetched},
		"a million records":              {fault: tapsim.Fault{Kind: tapsim.FaultRecords}, state: split, words: "more than 250000 records"},
		"as many records as may be":      {fault: tapsim.Fault{Kind: tapsim.FaultRecords, Size: bound.Records * 9 / 10}, state: fetched},
		"a record with many recipients":  {fault: tapsim.Fault{Kind: tapsim.FaultMembers}, state: fetched},
		"a record with too many of them": {fault: tapsim.Fault{Kind: tapsim.FaultMembers, Size: 3_000_000}, state: fetched, letters: 3},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && !slices.Contains([]string{"brackets", "1.6 MiB of numbers", "a header of a MiB", "redirects without end"}, name) {
				t.Skip("hundreds of MiB, or seconds of waiting: not in the short tier")
			}
			b := hasty(t)
			c.fault.Instant = b.window.Start.Add(b.window.Span() / 3)
			b.inject(t, c.fault)
			bad := b.job(b.window, 0)
			good := b.job(window.New(b.window.Start.Add(-time.Hour), b.window.Start), 0)
			b.start(t, strings.Fields("FETCHER_WORKERS=2 "+c.environ)...)
			began := time.Now()
			peak := alloctest.Peak(func() {
				b.plan(t, bad)
				b.plan(t, good)
				r := b.record(t, bad)
				state := r.GetState()
				if state == taplinev1.WindowState_WINDOW_STATE_UNPROVEN && c.state == split { // its share of the calls was used up: later
					state = split
				}
				if state != c.state || !strings.Contains(r.GetReason(), c.words) || len(r.GetReason()) > 2*bound.Words {
					t.Errorf("%.2000s", r)
				}
				if r := b.record(t, good); r.GetState() != fetched || received(r) != b.truth(b.window.Start.Add(-time.Hour), b.window.Start) {
					t.Errorf("the other window: %v", r)
				}
			})
			if t.Logf("the live heap rose by %d KiB in %s", peak>>10, time.Since(began)); peak > mostLive {
				t.Errorf("the live heap rose by %d bytes", peak)
			}
			if c.state == fetched {
				if letters := b.deadLetters(t); len(letters) != c.letters {
					t.Errorf("%d letters, want %d", len(letters), c.letters)
				}
			}
		})
	}
}

// TestExcessIsCutWhileItCan: a window with more malformed entries than are kept of one answer is
// cut, as far as the share of calls for windows that fail goes. What is left is summed up, and so
// is the excess of a window that cannot be cut.
func TestExcessIsCutWhileItCan(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/v2/siem") {
			b.sim.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Date", b.now().UTC().Format(http.TimeFormat))
		_, end, _ := strings.Cut(r.URL.Query().Get("interval"), "/")
		numbers := strings.Repeat("1,", bound.Letters)
		fmt.Fprintf(w, `{"queryEndTime":%q,"clicksBlocked":[],"clicksPermitted":[%s{"id":"1"},2],"messagesBlocked":[],"messagesDelivered":[]}`, end, numbers)
	}))
	t.Cleanup(api.Close)
	b.url = api.URL
	b.start(t, "FETCHER_WORKERS=1")
	smallest := b.job(window.New(b.window.Start, b.window.Start.Add(window.MinSpan)), 0)
	smallest.Feeds = []string{string(feed.ClicksPermitted)}
	smallest.Id = strings.Replace(smallest.GetId(), "/all/", "/clicksPermitted/", 1)
	b.plan(t, smallest)
	if r := b.record(t, smallest); r.GetState() != fetched || r.GetFeeds()[0].GetPublished() != 1 {
		t.Errorf("a window that cannot be cut: %v", r)
	}
	if letters := b.deadLetters(t); len(letters) != 2 || !strings.Contains(letters[1].GetReason(), "1 more entries of this answer") {
		t.Errorf("%d letters: %v", len(letters), letters)
	}
	states := make(map[taplinev1.WindowState]int)
	const windows = 30
	for i := range windows {
		start := b.window.Start.Add(time.Duration(i) * 2 * time.Minute)
		j := b.job(window.New(start, start.Add(2*time.Minute)), 0)
		b.plan(t, j)
		r := b.record(t, j)
		states[r.GetState()]++
		if r.GetState() == split && !strings.Contains(r.GetReason(), "more entries are malformed than are kept") {
			t.Errorf("%v", r)
		}
	}
	if states[split] < 5 || states[split] > 25 || states[split]+states[fetched] != windows {
		t.Errorf("%v", states)
	}
}
