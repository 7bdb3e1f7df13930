package ledger_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// writers are all ways to write to the ledger, for a job.
func writers(l *ledger.Ledger, id string) map[string]func(context.Context) error {
	w := entry(0)
	w.JobId = id
	return map[string]func(context.Context) error{
		"read": func(ctx context.Context) error { return l.RecordJob(ctx, w) },
		"made": func(ctx context.Context) error { return l.RecordRows(ctx, id, rows(0, 10, 0)) },
		"want": func(ctx context.Context) error {
			return l.RecordLookups(ctx, id, &taplinev1.LookupRecord{RawSequence: 1})
		},
		"remade": func(ctx context.Context) error { return l.RecordRemade(ctx, id, by("r", 1, rows(0, 10, 0))) },
		"sent": func(ctx context.Context) error {
			return l.RecordDelivery(ctx, ledger.Delivery{JobID: id, Batch: rows(0, 10, 0)})
		},
	}
}

// TestJobsThatAreNone are refused, not written to some page; what only asks finds nothing.
func TestJobsThatAreNone(t *testing.T) {
	t.Parallel()
	l := open(t, bustest.Start(t))
	for name, write := range writers(l, "no job") {
		if err := write(t.Context()); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := l.RecordRange(t.Context(), "main", &taplinev1.RangeRecord{}); err == nil {
		t.Error("a range without a window: taken")
	}
	if _, err := l.Outcomes(t.Context(), "no job"); err == nil {
		t.Error("an outcome of no job")
	}
	if has, err := l.HasMade(t.Context(), "no job", 0, time.Time{}); has || err != nil {
		t.Errorf("made: %t, %v", has, err)
	}
	if span, err := l.Span(t.Context(), "main"); err != nil || !span.Empty() {
		t.Errorf("span %s, %v", span, err)
	}
}

// TestWhatIsMade: of this very batch, recorded when it was stored or later.
func TestWhatIsMade(t *testing.T) {
	t.Parallel()
	l := open(t, bustest.Start(t))
	if err := l.RecordRows(t.Context(), minute(0), rows(0, 10, 0)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		sequence uint64
		stored   time.Time
		want     bool
	}{
		"itself": {1, hour, true}, "another": {2, hour, false}, "stored since": {1, hour.Add(time.Millisecond), false},
	} {
		if has, err := l.HasMade(t.Context(), minute(0), c.sequence, c.stored); has != c.want || err != nil {
			t.Errorf("%s: %t, %v", name, has, err)
		}
	}
}

// asks are all ways to ask the ledger.
func asks(l *ledger.Ledger, b *bus.Bus) map[string]func(context.Context) error {
	e := &batch.Events{JobID: minute(0), Table: table, SourceSequence: 1}
	return map[string]func(context.Context) error{
		"outcomes": func(ctx context.Context) error { _, err := l.Outcomes(ctx, minute(0)); return err },
		"has made": func(ctx context.Context) error { _, err := l.HasMade(ctx, minute(0), 1, hour); return err },
		"has":      func(ctx context.Context) error { _, err := l.Deliveries().Has(ctx, e); return err },
		"confirmed": func(ctx context.Context) error {
			_, err := l.Deliveries().Confirmed(ctx, e, 1, hour)
			return err
		},
		"load": func(ctx context.Context) error { _, err := l.Load(ctx, "main", hour, hour.Add(time.Hour)); return err },
		"calls": func(ctx context.Context) error {
			_, err := l.Calls(ctx, "main", feed.PoolSIEM, hour.Add(-24*time.Hour))
			return err
		},
		"rebuild": func(ctx context.Context) error { _, err := l.Rebuild(ctx, b, "main"); return err },
	}
}

// TestABucketThatRefuses: each caller hears of it, whatever it wanted to write or to know. An
// answer without a page would say that nothing is there.
func TestABucketThatRefuses(t *testing.T) {
	t.Parallel()
	b, faults := bustest.StartFaulty(t)
	l := open(t, b)
	store(t, b, 0)
	read := faults.Fail(bustest.Read(bus.BucketLedger), bustest.Fault{Times: -1})
	all := asks(l, b)
	maps.Copy(all, writers(l, minute(0)))
	for name, ask := range all {
		if err := ask(t.Context()); err == nil {
			t.Errorf("%s: no error although LEDGER cannot be read", name)
		}
	}
	read.End()
	writing := faults.Fail(bustest.Write(bus.BucketLedger), bustest.Fault{Times: -1})
	all = writers(l, minute(0))
	all["range"] = func(ctx context.Context) error {
		return l.RecordRange(ctx, "main", &taplinev1.RangeRecord{Window: window.New(hour, hour.Add(time.Hour)).Proto()})
	}
	all["lost"] = func(ctx context.Context) error {
		id, err := job.Parse(minute(0))
		if err != nil {
			t.Fatal(err)
		}
		return l.RecordLosses(ctx, hour, ledger.Loss{Job: id, Batch: rows(0, 10, 0)})
	}
	all["rebuild"] = asks(l, b)["rebuild"]
	for name, write := range all {
		if err := write(t.Context()); err == nil {
			t.Errorf("%s: no error although LEDGER cannot be written", name)
		}
	}
	writing.End()
	for name, write := range all {
		if err := write(t.Context()); err != nil {
			t.Errorf("%s: %v afterwards", name, err)
		}
	}
}

// TestADamagedPage is named by [ledger.Ledger.Load] beside all others, also after the next update
// of its stage has taken its place: what it listed is missing all the same.
func TestADamagedPage(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	bucket, err := b.Bucket(t.Context(), bus.BucketLedger)
	if err != nil {
		t.Fatal(err)
	}
	malformed, err := encode(&taplinev1.LedgerPage{Ranges: []*taplinev1.RangeRecord{{At: timestamppb.New(hour)}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := open(t, b).RecordJob(t.Context(), entry(60)); err != nil { // of the next hour
		t.Fatal(err)
	}
	l := open(t, b)
	load := func() []string {
		book, err := l.Load(t.Context(), "main", hour, hour.Add(2*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(book.Rows, func(r ledger.Row) bool { return r.Job.Window.Start.Equal(hour.Add(time.Hour)) }) {
			t.Error("a damaged page hides another one")
		}
		return book.Unread()
	}
	for part, data := range map[ledger.Part][]byte{
		ledger.PartRead: []byte("\xff"), ledger.PartMade: []byte("\xff"), ledger.PartSent: []byte("\xff"), ledger.PartWant: []byte("\xff"), ledger.PartPlan: malformed,
	} {
		key := ledger.Key(part, "main", hour)
		if err := bucket.Put(t.Context(), key, data); err != nil {
			t.Fatal(err)
		}
		if unread := load(); len(unread) != 1 || !strings.HasPrefix(unread[0], key+" cannot be read: ") {
			t.Errorf("with a damaged %s: %v", key, unread)
		}
		if _, err := l.Calls(t.Context(), "main", feed.PoolSIEM, hour); (part == ledger.PartRead) != errors.Is(err, quota.ErrUnknown) {
			t.Errorf("calls with a damaged %s: %v", key, err)
		}
		for name, call := range writers(open(t, b), minute(0)) {
			if err := call(t.Context()); err != nil {
				t.Errorf("%s with a damaged %s: %v", name, key, err)
			}
		}
		if unread := load(); len(unread) != 1 || !strings.HasPrefix(unread[0], key+" cannot be read: ") {
			t.Errorf("%s after an update of what was damaged: %v", key, unread)
		}
		for _, p := range []ledger.Part{ledger.PartRead, ledger.PartMade, ledger.PartSent, ledger.PartWant, ledger.PartPlan} {
			if err := bucket.Put(t.Context(), ledger.Key(p, "main", hour), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestACallerDoesNotWaitForEver: a caller that ends while the page is being written hears so.
func TestACallerDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	b, faults := bustest.StartFaulty(t)
	release := make(chan struct{})
	faults.At(bustest.Write(bus.BucketLedger), func() {
		cancel()
		<-release
	})
	l := open(t, b)
	if err := l.RecordJob(ctx, entry(0)); err == nil {
		t.Error("noted, although nothing was written yet")
	}
	close(release)
	if err := l.RecordJob(t.Context(), entry(1)); err != nil {
		t.Fatal(err)
	}
}

// pages is a bucket in memory, which counts what is read of it.
type pages struct {
	entries map[string]bus.Entry
	read    int
}

func (p *pages) Get(_ context.Context, key string) (bus.Entry, error) {
	p.read++
	entry, ok := p.entries[key]
	if !ok {
		return bus.Entry{}, bus.ErrNotFound
	}
	return entry, nil
}

func (p *pages) Update(_ context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if p.entries[key].Revision != revision {
		return 0, bus.ErrConflict
	}
	p.entries[key] = bus.Entry{Value: value, Revision: revision + 1}
	return revision + 1, nil
}

func (p *pages) Select(context.Context, ...string) ([]bus.Pair, error) { return nil, nil }
func (p *pages) Keys(context.Context, ...string) ([]string, error)     { return nil, nil }

// TestPagesAreRememberedForAMoment: neither is a page read at each record, nor is every page kept
// for ever.
func TestPagesAreRememberedForAMoment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pages{entries: make(map[string]bus.Entry)}
		l := ledger.New(p)
		at := func(hours int) string {
			start := hour.Add(time.Duration(hours) * time.Hour)
			return job.ID{Tenant: "main", Set: feed.Set{feed.ClicksBlocked}, Window: window.New(start, start.Add(time.Minute)), Lane: taplinev1.Lane_LANE_LIVE}.String()
		}
		reads := func(hours int, want int) {
			t.Helper()
			p.read = 0
			if err := l.RecordRows(t.Context(), at(hours), rows(0, 10, 0)); err != nil {
				t.Fatal(err)
			}
			if synctest.Wait(); p.read != want {
				t.Errorf("hour %d: page read %d times, want %d", hours, p.read, want)
			}
		}
		reads(0, 1)
		reads(0, 0)
		again := 0
		for hours := range 200 {
			reads(hours, min(hours, 1))
		}
		for hours := range 200 {
			p.read = 0
			if err := l.RecordRows(t.Context(), at(hours), rows(0, 10, 0)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			again += p.read
		}
		if again < 200-64 {
			t.Errorf("of 200 pages only %d were forgotten", again)
		}

		d := l.Deliveries()
		asks := func(hours int, want int) {
			t.Helper()
			p.read = 0
			if _, err := d.Has(t.Context(), &batch.Events{JobID: at(hours), Table: table, SourceSequence: 1}); err != nil || p.read != want {
				t.Errorf("hour %d: page read %d times, want %d, %v", hours, p.read, want, err)
			}
		}
		asks(0, 1)
		asks(0, 0)
		<-time.After(5 * time.Second)
		asks(0, 0)
		<-time.After(time.Millisecond)
		asks(0, 1)
		d.Forget()
		asks(0, 1)
		for hours := range 100 {
			asks(hours, min(hours, 1))
		}
		p.read = 0
		for hours := range 100 {
			if _, err := d.Has(t.Context(), &batch.Events{JobID: at(hours), Table: table, SourceSequence: 1}); err != nil {
				t.Fatal(err)
			}
		}
		if p.read < 100-16 {
			t.Errorf("of 100 pages only %d were forgotten", p.read)
		}
	})
}
