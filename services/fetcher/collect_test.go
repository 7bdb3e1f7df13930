package fetcher_test

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/known"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// script answers calls for all SIEM feeds with records of the test.
type script struct {
	mu      sync.Mutex
	records map[feed.Feed][]string
}

func (s *script) set(f feed.Feed, records ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = map[feed.Feed][]string{f: records}
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, end, _ := strings.Cut(r.URL.Query().Get("interval"), "/")
	_, _ = fmt.Fprintf(w, `{"queryEndTime":%q`, end)
	for _, f := range feed.SIEM() {
		_, _ = fmt.Fprintf(w, `,%q:[%s]`, f, strings.Join(s.records[f], ","))
	}
	_, _ = fmt.Fprint(w, `}`)
}

// scripted is a bench whose Proofpoint is a script.
func scripted(t *testing.T) (*bench, *script) {
	t.Helper()
	b, s := newBench(t, nil), &script{}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	b.url = server.URL
	b.start(t)
	return b, s
}

// read has a window read and gives the account of a feed.
func (b *bench) read(t *testing.T, w window.Window, pass uint32, f feed.Feed) *taplinev1.FeedResult {
	t.Helper()
	job := b.job(w, pass)
	b.plan(t, job)
	b.record(t, job)
	_, result := b.marker(t, job.GetId())
	for _, r := range result.GetFeeds() {
		if r.GetFeed() == string(f) {
			return r
		}
	}
	t.Fatalf("%v says nothing of %s", result, f)
	return nil
}

// TestARecordWithoutANameComesOnce, however it is written, and is another record in another feed.
func TestARecordWithoutANameComesOnce(t *testing.T) {
	t.Parallel()
	b, s := scripted(t)
	s.set(feed.ClicksBlocked, `{"url":"http://x.example/","clickTime":"2022-03-30T10:51:53.000Z","threatID":"t1","recipient":"a@corp.example"}`)
	if r := b.read(t, b.window, 0, feed.ClicksBlocked); r.GetPublished() != 1 {
		t.Errorf("the first time: %v", r)
	}
	const turned = ` {"recipient":"a@corp.example", "threatID":"t1","clickTime":"2022-03-30T10:51:53.000Z","url":"http:\/\/x.example/"}`
	s.set(feed.ClicksBlocked, turned)
	if r := b.read(t, b.window, 1, feed.ClicksBlocked); r.GetPublished() != 0 || r.GetDuplicate() != 1 {
		t.Errorf("with its members turned round: %v", r)
	}
	s.set(feed.ClicksPermitted, turned)
	if r := b.read(t, b.window, 2, feed.ClicksPermitted); r.GetPublished() != 1 {
		t.Errorf("in another feed: %v", r)
	}
	ids := make(map[uint64]feed.Feed)
	for pass := range uint32(3) {
		for _, rec := range b.stored(t, b.record(t, b.job(b.window, pass))) {
			if other, have := ids[rec.ID]; have {
				t.Errorf("one identity in two tables, of which one is %s", other)
			}
			ids[rec.ID] = feed.ClicksBlocked
		}
	}
	if len(ids) != 2 {
		t.Errorf("%d records", len(ids))
	}
}

// TestARecordWithoutATimeComesOnce from any window that may return it: those begin in the hour of
// the first, or in one next to it.
func TestARecordWithoutATimeComesOnce(t *testing.T) {
	t.Parallel()
	b, s := scripted(t)
	const record = `{"id":"1","subject":"s"}`
	s.set(feed.MessagesBlocked, record)
	whole := b.window.Start.Truncate(time.Hour).Add(-2 * time.Hour)
	from := func(d time.Duration) window.Window { return window.New(whole.Add(d), whole.Add(d+30*time.Minute)) }
	if r := b.read(t, from(0), 0, feed.MessagesBlocked); r.GetPublished() != 1 {
		t.Errorf("the first time: %v", r)
	}
	for _, d := range []time.Duration{0, 40 * time.Minute, -20 * time.Minute, -time.Hour, 80 * time.Minute} {
		if r := b.read(t, from(d), 1, feed.MessagesBlocked); r.GetPublished() != 0 || r.GetDuplicate() != 1 {
			t.Errorf("%s later: %v", d, r)
		}
	}
	s.set(feed.MessagesBlocked, `{"id":"1","subject":"another"}`)
	for i, d := range []time.Duration{-time.Hour, time.Hour} {
		s.set(feed.MessagesBlocked, fmt.Sprintf(`{"id":"1","subject":"another %d"}`, i))
		if r := b.read(t, from(d), 2, feed.MessagesBlocked); r.GetPublished() != 1 || r.GetRevision() != 1 {
			t.Errorf("changed, %s later: %v", d, r)
		}
	}
}

// TestRecordsOfAnEarlierVersion are not published once more, though it made other hashes of their
// content and kept less of them; what has changed is.
func TestRecordsOfAnEarlierVersion(t *testing.T) {
	t.Parallel()
	b, s := scripted(t)
	at := b.window.Start.Add(-24 * time.Hour).Truncate(time.Hour)
	message := `{"id":"%d","messageTime":"` + at.Format(time.RFC3339) + `","impostorScore":0.0,"recipient":["a@corp.example"],"modulesRun":["spf","av"],"subject":"%s"}`
	h := identity.NewHasher()
	var value, records []byte
	for i := range 3 {
		record := fmt.Appendf(nil, message, i, "first")
		id, err := h.SIEM(feed.MessagesBlocked, record)
		former, errFormer := h.Former(func() (uint64, error) {
			id, err := h.SIEM(feed.MessagesBlocked, record)
			return id.Hash, err
		})
		if err != nil || errFormer != nil || former == id.Hash {
			t.Fatal(err, errFormer, former, id.Hash)
		}
		value = binary.BigEndian.AppendUint64(value[:0], id.ID&^(1<<24-1)|former>>40)
		if i == 1 { // the others are unknown
			bucket, err := b.bus.Bucket(t.Context(), bus.BucketSeen)
			if err != nil {
				t.Fatal(err)
			}
			if err := bucket.Put(t.Context(), "main."+string(feed.MessagesBlocked)+at.Format(".2006010215"), value); err != nil {
				t.Fatal(err)
			}
		}
		records = append(append(records, record...), ',')
	}
	s.set(feed.MessagesBlocked, strings.TrimSuffix(string(records), ","))
	if r := b.read(t, b.window, 0, feed.MessagesBlocked); r.GetPublished() != 2 || r.GetDuplicate() != 1 || r.GetRevision() != 0 {
		t.Errorf("%v", r)
	}
	if r := b.read(t, b.window, 1, feed.MessagesBlocked); r.GetDuplicate() != 3 {
		t.Errorf("read again: %v", r)
	}
	s.set(feed.MessagesBlocked, fmt.Sprintf(message, 1, "second"))
	if r := b.read(t, b.window, 2, feed.MessagesBlocked); r.GetPublished() != 1 || r.GetRevision() != 1 {
		t.Errorf("changed: %v", r)
	}
}

// TestAnAnswerOfAnEarlierVersion that has not changed makes no record, though the hash that is
// known of it is another one.
func TestAnAnswerOfAnEarlierVersion(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	id := b.threats(t, 1)[0]
	b.start(t, append(quick, "EXPAND_REFRESH=1m")...)
	first := b.order(feed.CallThreat, taplinev1.Lane_LANE_EXPAND, 1, id)
	b.plan(t, first)
	answer := b.stored(t, b.record(t, first))[0]
	h := identity.NewHasher()
	former, err := h.Former(func() (uint64, error) { return h.Content(answer.JSON, "generated") })
	if err != nil || former == answer.Hash {
		t.Fatalf("%x, %v: %s hashes as before", former, err, answer.JSON)
	}
	bucket, err := b.bus.Bucket(t.Context(), bus.BucketKnown)
	if err != nil {
		t.Fatal(err)
	}
	target := &taplinev1.Target{Id: id, Status: "active"}
	poll(t, func() bool { // written after the record
		verdict, err := known.Open(bucket, "main", known.Config{Refresh: time.Hour}, b.sim.Now).Covers(t.Context(), feed.CallThreat, target)
		return err == nil && verdict == known.Covered
	})
	long := known.Open(bucket, "main", known.Config{}, func() time.Time { return b.sim.Now().Add(-time.Hour) })
	for pass, want := range []struct {
		hash                uint64
		duplicate, revision int64
	}{{former, 1, 0}, {former + 1, 0, 1}} {
		if err := long.Complete(t.Context(), feed.CallThreat, id, want.hash, target); err != nil {
			t.Fatal(err)
		}
		again := b.order(feed.CallThreat, taplinev1.Lane_LANE_EXPAND, uint32(2+pass), id)
		again.Targets[0].Status = "active"
		b.plan(t, again)
		if f := b.record(t, again).GetFeeds()[0]; f.GetReceived() != 1 || f.GetDuplicate() != want.duplicate || f.GetRevision() != want.revision {
			t.Errorf("known by %x: %v", want.hash, f)
		}
		poll(t, func() bool {
			claim, err := long.Claim(t.Context(), feed.CallThreat, &taplinev1.Target{Id: id}, "test")
			return err == nil && claim.Hash == answer.Hash
		})
	}
}

// TestARecordFarFromItsWindowComesOnce, too: it is remembered with the window, so that no answer
// touches any number of hours.
func TestARecordFarFromItsWindowComesOnce(t *testing.T) {
	t.Parallel()
	b, s := scripted(t)
	var records []string
	for _, at := range []string{"0001-01-01T00:00:00Z", "1970-01-02T00:00:00Z", "2020-02-02T02:02:02Z", "2999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"} {
		records = append(records, fmt.Sprintf(`{"id":"%d","messageTime":%q}`, len(records), at))
	}
	s.set(feed.MessagesBlocked, strings.Join(records, ","))
	for pass, published := range []int64{5, 0} {
		if r := b.read(t, b.window, uint32(pass), feed.MessagesBlocked); r.GetReceived() != 5 || r.GetPublished() != published || r.GetDuplicate() != 5-published {
			t.Errorf("pass %d: %v", pass, r)
		}
	}
	bucket, err := b.bus.Bucket(t.Context(), bus.BucketSeen)
	if err != nil {
		t.Fatal(err)
	}
	pairs, err := bucket.Select(t.Context(), "main.messagesBlocked.>")
	if err != nil || len(pairs) != 1 {
		t.Errorf("%d hours were touched, %v", len(pairs), err)
	}
}
