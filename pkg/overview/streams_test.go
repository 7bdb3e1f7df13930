package overview_test

import (
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/overview"
)

// TestForecast: a stream is full when the room divided by the rate is over, and never if eight days
// at this rate fit into it.
func TestForecast(t *testing.T) {
	t.Parallel()
	now := began
	const mb = 1_000_000
	for name, c := range map[string]struct {
		usage        bus.Usage
		first        uint64
		rate, fullIn float64
	}{
		"steady, and eight days fit": {bus.Usage{Messages: 1000, Bytes: 1000 * mb, MaxBytes: 2000 * mb, First: 1, Last: 1000, Oldest: now.Add(-200 * time.Hour)}, 996, 5 * mb, 0},
		"too much for its room":      {bus.Usage{Messages: 1000, Bytes: 1000 * mb, MaxBytes: 2000 * mb, First: 1, Last: 1000, Oldest: now.Add(-100 * time.Hour)}, 981, 20 * mb, 50},
		"young":                      {bus.Usage{Messages: 10, Bytes: 10 * mb, MaxBytes: 100 * mb, First: 1, Last: 10, Oldest: now.Add(-30 * time.Minute)}, 1, 20 * mb, 4.5},
		"nothing in the last hour":   {bus.Usage{Messages: 10, Bytes: 10 * mb, MaxBytes: 100 * mb, First: 1, Last: 10, Oldest: now.Add(-30 * time.Hour)}, 11, 0, 0},
		"no limit":                   {bus.Usage{Messages: 10, Bytes: 10 * mb, MaxBytes: -1, First: 1, Last: 10, Oldest: now.Add(-30 * time.Minute)}, 1, 20 * mb, 0},
		"full":                       {bus.Usage{Messages: 10, Bytes: 100 * mb, MaxBytes: 100 * mb, First: 1, Last: 10, Oldest: now.Add(-time.Hour)}, 1, 100 * mb, 0.1},
	} {
		var s overview.Stream
		overview.Forecast(&s, c.usage, c.first, now)
		if s.Rate != c.rate || s.FullIn != c.fullIn {
			t.Errorf("%s: %.0f bytes an hour, full in %v h, want %.0f and %v", name, s.Rate, s.FullIn, c.rate, c.fullIn)
		}
	}
}

// TestStreamsSayHowFarBackTheyReach, and at which rate they grow.
func TestStreamsSayHowFarBackTheyReach(t *testing.T) {
	t.Parallel()
	tt := newTenant(t)
	e := batch.Events{Tenant: "main", Table: blocked.Table(), Events: []batch.Event{{ID: []byte("x"), JSON: []byte("{}")}}}
	if _, err := tt.bus.PublishEvents(t.Context(), batch.AppendEvents(nil, &e), bus.EventMeta{Tenant: "main", Table: blocked.Table(), MsgID: "1"}); err != nil {
		t.Fatal(err)
	}
	for _, s := range tt.status().Streams {
		if filled := s.Name == bus.StreamEvents; filled != (s.Rate > 0) || filled != (time.Since(s.Oldest) < time.Minute) {
			t.Errorf("%+v", s)
		}
	}
}
