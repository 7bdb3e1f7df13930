package fetcher_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// reassemble joins the pieces of records as their letters say.
func reassemble(t *testing.T, letters []*taplinev1.DeadLetter) (records []string) {
	t.Helper()
	next := make(map[string]*taplinev1.DeadLetter)
	for _, l := range letters {
		if l.GetPart() > 1 {
			next[string(l.GetFollows())] = l
		}
	}
	for _, l := range letters {
		if l.GetPart() > 1 {
			continue
		}
		var whole strings.Builder
		for whole.Write(l.GetPayload()); l.GetMore(); whole.Write(l.GetPayload()) {
			through := sha256.Sum256(append(slices.Clone(l.GetFollows()), l.GetPayload()...))
			following := next[string(through[:])]
			if following == nil || following.GetPart() != l.GetPart()+1 {
				t.Fatalf("nothing follows part %d of a record of %s", l.GetPart(), l.GetFeed())
			}
			l = following
		}
		records = append(records, whole.String())
	}
	return records
}

// TestDeadRecordsAreKeptWhole, byte for byte: one above 4 MiB in parts, two of which look alike,
// one with a raw control character. A sweep that reads them again stores nothing.
func TestDeadRecordsAreKeptWhole(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	large := `{"id":"large","x":"` + strings.Repeat("x", 13<<20) + `"}`
	control := "{\"id\":\"control\",\"subject\":\"two\nlines\"}"
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/siem/all" {
			b.sim.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Date", b.now().UTC().Format(http.TimeFormat))
		_, end, _ := strings.Cut(r.URL.Query().Get("interval"), "/")
		fmt.Fprintf(w, `{"queryEndTime":%q,"clicksBlocked":[{"id":"1"},%s,{"id":"2"},%s],"clicksPermitted":[],"messagesBlocked":null,"messagesDelivered":[]}`, end, large, control)
	}))
	t.Cleanup(api.Close)
	b.url = api.URL
	b.start(t)
	for _, c := range []struct {
		pass                       uint32
		published, duplicate, dead int64
	}{{0, 2, 0, 5}, {10, 0, 7, 0}} {
		job := b.job(b.window, c.pass)
		b.plan(t, job)
		if r := b.record(t, job).GetFeeds()[0]; r.GetReceived() != 7 || r.GetPublished() != c.published || r.GetDuplicate() != c.duplicate || r.GetDead() != c.dead {
			t.Errorf("pass %d: %v", c.pass, r)
		}
		letters := b.deadLetters(t)
		if kept := reassemble(t, letters); len(letters) != 5 || len(kept) != 2 || kept[0] != large || kept[1] != control {
			t.Errorf("pass %d: %d letters of %d records", c.pass, len(letters), len(kept))
		}
	}
	if reason := b.deadLetters(t)[1].GetReason(); !strings.Contains(reason, "part 2 is its bytes 4194304 to 8388608, and more follow") {
		t.Errorf("reason %q", reason)
	}
}

// TestAnIDThatIsAnsweredWithAnError and status 200 has no record: it is asked for again, and goes
// to DEAD with the words.
func TestAnIDThatIsAnsweredWithAnError(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	var calls atomic.Int32
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/c1") {
			calls.Add(1)
			fmt.Fprint(w, `{"id":"c1","name":"a campaign","error":"backend partially unavailable"}`)
			return
		}
		b.sim.ServeHTTP(w, r)
	}))
	t.Cleanup(api.Close)
	b.url = api.URL
	order := b.order(feed.CallCampaign, taplinev1.Lane_LANE_RETRY, 7, "c1")
	b.plan(t, order)
	b.start(t, quick...)
	if f := b.record(t, order).GetFeeds()[0]; f.GetPublished() != 0 || f.GetDead() != 1 || calls.Load() != 3 {
		t.Errorf("%v after %d calls", f, calls.Load())
	}
	letters := b.deadLetters(t)
	if len(letters) != 1 || string(letters[0].GetPayload()) != "c1" || !strings.Contains(letters[0].GetReason(), "backend partially unavailable") || letters[0].GetRetry() == nil {
		t.Errorf("DEAD has %v", letters)
	}
}

// TestOneLetterForOneEntry, though SEEN could not be written or was lost after its window was
// stored: it is completed from what is.
func TestOneLetterForOneEntry(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(t *testing.T, b *bench){
		"not written": func(t *testing.T, b *bench) {
			t.Helper()
			forget(t, b.bus)
			b.plan(t, b.job(b.window, 0)) // it is redelivered
		},
		"lost": func(t *testing.T, b *bench) {
			t.Helper()
			bustest.Publish(t, b.server, "$JS.API.STREAM.DELETE.KV_SEEN", nil)
			if err := b.bus.Setup(t.Context(), bustest.Limits, nil); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v2/siem/all" {
					b.sim.ServeHTTP(w, r)
					return
				}
				w.Header().Set("Date", b.now().UTC().Format(http.TimeFormat))
				_, end, _ := strings.Cut(r.URL.Query().Get("interval"), "/")
				fmt.Fprintf(w, `{"queryEndTime":%q,"clicksBlocked":[{"id":"1"},"no object",{"id":"2"}],"clicksPermitted":[7],"messagesBlocked":null,"messagesDelivered":[]}`, end)
			}))
			t.Cleanup(api.Close)
			b.url = api.URL
			stop := b.start(t)
			first := b.job(b.window, 0)
			b.plan(t, first)
			b.record(t, first)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			lose(t, b)
			b.start(t)
			next := b.job(b.window, 1)
			b.plan(t, next)
			feeds := b.record(t, next).GetFeeds()
			if letters := b.deadLetters(t); len(letters) != 2 || feeds[0].GetDuplicate() != 3 || feeds[1].GetDuplicate() != 1 {
				t.Errorf("%d letters of two entries; %v", len(letters), feeds)
			}
		})
	}
}
