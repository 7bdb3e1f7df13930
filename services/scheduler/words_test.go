package scheduler

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// TestWhichPresentIsBelieved: a clock that is ahead moves the present back by an hour at most, one
// that is behind moves nothing.
func TestWhichPresentIsBelieved(t *testing.T) {
	t.Parallel()
	local := time.Date(2026, 3, 11, 8, 0, 0, 0, time.UTC)
	for skew, want := range map[time.Duration][2]time.Duration{
		0: {0, 0}, -time.Hour: {0, 0}, time.Second: {time.Second, time.Second}, time.Hour: {time.Hour, time.Hour}, 2 * time.Hour: {time.Hour, 2 * time.Hour},
	} {
		now, earliest := believed(local, skew.Milliseconds())
		if back := [2]time.Duration{local.Sub(now), local.Sub(earliest)}; back != want {
			t.Errorf("a clock that is %s ahead: back by %s, want %s", skew, back, want)
		}
	}
}

// TestWhatIsForgetting: a stream forgets when it is another one or went back, a consumer only when
// it begins anew.
func TestWhatIsForgetting(t *testing.T) {
	t.Parallel()
	part := func(created int64, sequence uint64) *taplinev1.MemoryPart {
		return &taplinev1.MemoryPart{CreatedAt: timestamppb.New(time.Unix(created, 0)), Sequence: sequence}
	}
	for _, c := range []struct {
		name        string
		before, now *taplinev1.MemoryPart
		want        string
	}{
		{"RAW", part(1, 7), part(1, 7), ""},
		{"RAW", part(1, 7), part(1, 8), ""},
		{"RAW", part(1, 7), part(1, 6), "went back from sequence 7 to 6"},
		{"RAW", part(1, 7), part(2, 8), "was made anew"},
		{"RAW/enricher", part(1, 7), part(1, 6), ""},
		{"RAW/enricher", part(1, 7), part(1, 0), "went back from sequence 7 to 0"},
		{"RAW/enricher", part(1, 0), part(1, 0), ""},
		{"RAW/enricher", part(2, 7), part(1, 7), "was made anew"},
	} {
		if got := forgot(c.name, c.before, c.now); !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%s from %v to %v: %q, want %q", c.name, c.before, c.now, got, c.want)
		}
	}
}

// TestWhatIsSaidOfDeadLetters: the most frequent reasons first, three of them.
func TestWhatIsSaidOfDeadLetters(t *testing.T) {
	t.Parallel()
	counts := map[string]int{"b": 2, "c": 2, "a": 1}
	if got, want := deadDetail(counts, 5, false), "5 dead letters in the last day: 2 b, 2 c, 1 a; tapctl dead lists them"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	counts["d"], counts["e"] = 9, 1
	if got, want := deadDetail(counts, 15, true), "at least 15 dead letters in the last day: 9 d, 2 b, 2 c, 2 other reasons; tapctl dead lists them"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	for reason, want := range map[string]string{"a row: of 7 bytes": "a row", "a row": "a row", strings.Repeat("x", 81): strings.Repeat("x", 80)} {
		if got := kindOf(reason); got != want {
			t.Errorf("%s is of the kind %s, want %s", reason, got, want)
		}
	}
}

// TestWhatIsSaidOfAFullStream: its share, its size, and what an operator does about it.
func TestWhatIsSaidOfAFullStream(t *testing.T) {
	t.Parallel()
	for n, want := range map[uint64]string{0: "0 MiB", 1 << 20: "1 MiB", 3<<19 - 1: "1 MiB", 3 << 19: "2 MiB"} {
		if got := mib(n); got != want {
			t.Errorf("%d bytes are %s, want %s", n, got, want)
		}
	}
	for limit, want := range map[int64]float64{-1: 0, 0: 0, 1: 50, 200: 0.25} {
		if got := share(bus.Usage{Bytes: 50, MaxBytes: limit}); got != want {
			t.Errorf("50 bytes of %d are a share of %v, want %v", limit, got, want)
		}
	}
	for stream, words := range map[string][]string{
		bus.StreamRaw:    {"RAW holds 1 MiB of records", "see that an enricher runs", "STREAM_RAW_MAX_BYTES"},
		bus.StreamEvents: {"EVENTS holds 1 MiB of rows", "mend the sink", "STREAM_EVENTS_MAX_BYTES"},
	} {
		for _, w := range words {
			if got := fullDetail(bus.Usage{Stream: stream, Bytes: 1 << 20, MaxBytes: 2 << 20}); !strings.Contains(got, w) {
				t.Errorf("%s does not say %q", got, w)
			}
		}
	}
}

// TestAMarkerOfNoJobKeepsNothing: no stage will ever write into the ledger that it is done.
func TestAMarkerOfNoJobKeepsNothing(t *testing.T) {
	t.Parallel()
	for _, swept := range []bool{true, false} {
		if done, err := (&Scheduler{}).doneWith(t.Context(), "no job", swept); !done || err != nil {
			t.Errorf("done with it: %t, %v", done, err)
		}
	}
}

// TestWhatWaitsToBeReadIsNotOwed, of the feeds for which it waits.
func TestWhatWaitsToBeReadIsNotOwed(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 3, 11, 12, 0, 0, 0, time.UTC)
	hour := window.New(noon.Add(-time.Hour), noon)
	state := &taplinev1.PlanState{
		Start:    timestamppb.New(noon.Add(-90 * time.Minute)),
		Backlogs: []*taplinev1.Backlog{{Window: hour.Proto(), Feeds: []string{string(feed.ClicksBlocked)}}},
	}
	s := &Scheduler{plans: []*planning{{state: state, cfg: plan.Config{Set: feed.SIEM()}}}}
	lost := ledger.Range{Window: window.New(noon.Add(-2*time.Hour), noon)}
	for f, want := range map[feed.Feed]time.Duration{feed.ClicksBlocked: 30 * time.Minute, feed.ClicksPermitted: 90 * time.Minute, feed.Threats: 2 * time.Hour} {
		var owed time.Duration
		for _, w := range s.owed(f, lost) {
			owed += w.Span()
		}
		if owed != want {
			t.Errorf("%s of %s are owed, want %s", owed, f, want)
		}
	}
	lost.Undelivered = true
	if got := s.owed(feed.ClicksBlocked, lost); len(got) != 1 || got[0] != lost.Window {
		t.Errorf("of what left a stream %v is owed", got)
	}
}
