package fetcher

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/quota"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
)

// TestHowOftenAnIDIsAskedFor: an odd answer of few calls only twice, hours apart.
func TestHowOftenAnIDIsAskedFor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		attempts int
		limit    int
		err      error
		want     int
		delay    time.Duration
	}{
		{8, 50, api(proofpoint.NotFound), 2, 4 * time.Hour},
		{1, 50, api(proofpoint.NotFound), 1, 4 * time.Hour},
		{8, 50, api(proofpoint.ServerError), 8, 40 * time.Second},
		{8, 50, errBusy, 8, 40 * time.Second},
		{8, 1800, api(proofpoint.NotFound), 8, 40 * time.Second},
	} {
		f := &Fetcher{scale: func(d time.Duration) time.Duration { return d }}
		f.cfg.Expand.Attempts, f.cfg.Expand.Delay = c.attempts, 10*time.Second
		f.cfg.Quota.ForensicsThreat = c.limit
		w := windowOf(time.Hour, taplinev1.Lane_LANE_LIVE, 0, feed.ClicksBlocked)
		w.endpoint.Pool = feed.CallThreatForensics.Pool()
		if got, delay := f.attempts(w, c.err), f.delay(w, c.err, 3); got != c.want || delay != c.delay {
			t.Errorf("%v with %d calls: %d times, then after %s", c.err, c.limit, got, delay)
		}
	}
}

// TestRoomForAnAnswer: nothing is fetched while RAW is full, or half a minute after it refused
// something.
func TestRoomForAnAnswer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		share int
		full  time.Duration // ago
		ok    bool
	}{"room": {97, time.Hour, true}, "full": {98, time.Hour, false}, "it refused": {0, time.Second, false}} {
		f := &Fetcher{}
		f.raw = backpressure{looked: time.Now().Add(time.Hour), full: time.Now().Add(-c.full), share: c.share}
		if err := f.checkRoom(t.Context()); (err == nil) != c.ok || err != nil && !errors.Is(err, errNoRoom) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f := &Fetcher{}
	f.raw.looked = time.Now().Add(time.Hour)
	if f.raw.refused(); !errors.Is(f.checkRoom(t.Context()), errNoRoom) {
		t.Error("what RAW refuses is forgotten")
	}
}

// TestJobsThatAreRefused: what this fetcher cannot run.
func TestJobsThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		span time.Duration
		pass uint32
		id   string
		ok   bool
	}{
		"an hour":              {time.Hour, 0, "", true},
		"more than an hour":    {time.Hour + time.Second, 0, "", false},
		"half a minute":        {30 * time.Second, 0, "", true},
		"less":                 {29 * time.Second, 0, "", false},
		"the oldest pass":      {time.Hour, 10_080, "", true},
		"an older one":         {time.Hour, 10_081, "", false},
		"an id of another job": {time.Hour, 0, windowOf(time.Minute, taplinev1.Lane_LANE_LIVE, 0, feed.ClicksBlocked).job.GetId(), false},
		"no id":                {time.Hour, 0, "nonsense", false},
	} {
		f := &Fetcher{}
		f.cfg.Tenant.Name = "main"
		order := windowOf(c.span, taplinev1.Lane_LANE_SWEEP, c.pass, feed.ClicksBlocked).job
		if c.id != "" {
			order.Id = c.id
		}
		w, err := f.decode(encoded(t, order))
		if (err == nil) != c.ok || err != nil && !errors.Is(err, errBadJob) {
			t.Errorf("%s: %v", name, err)
		}
		if c.ok && (w.endpoint.Path != feed.SIEMClicksBlocked.Path || w.window.Span() != c.span) {
			t.Errorf("%s: %+v", name, w)
		}
	}
}

// TestLimitsOfPools are those of the configuration.
func TestLimitsOfPools(t *testing.T) {
	t.Parallel()
	f := &Fetcher{cfg: Config{Quota: quota.Config{ForensicsThreat: 479}}}
	pool := feed.CallThreatForensics.Pool()
	if !f.scarce(pool) {
		t.Error("479 calls are many")
	}
	if f.cfg.Quota.ForensicsThreat = 480; f.scarce(pool) {
		t.Error("480 calls are few")
	}
	if at := (&reading{}); at.readAt() != nil || at.upTo() != nil {
		t.Error("a job about ids was read at no time")
	}
	if at := (&reading{at: noon, readEnd: noon}); !at.readAt().AsTime().Equal(noon) || !at.upTo().AsTime().Equal(timestamppb.New(noon).AsTime()) {
		t.Errorf("%v", at)
	}
}
