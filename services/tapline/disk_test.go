package tapline

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/bus/embedded"
)

var errWrite = errors.New("write error")

// TestDiskAlarm: when room is about to end and the streams may still grow, or the server cannot
// write; not because a disk is smaller than the streams may ever be, and not when they have what
// they may.
func TestDiskAlarm(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t) // RAW and EVENTS may take 1 GiB each
	state, err := b.Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	var free uint64
	var broken error
	d := &disk{
		dir: "here", streams: b, log: slog.New(slog.DiscardHandler),
		free: func(string) (uint64, error) { return free, nil }, healthy: func(context.Context) error { return broken },
		alarms: alarm.New(state, "main", name, slog.New(slog.DiscardHandler), alarm.Gauge(prometheus.NewRegistry())),
	}
	for _, c := range []struct {
		free   uint64
		broken error
		want   string
	}{
		{1500 << 20, nil, ""},
		{200 << 20, nil, "here has 200 MiB free, and RAW and EVENTS may take another 2048 MiB"},
		{1500 << 20, errWrite, "streams cannot be written: make room and restart: write error"},
		{1500 << 20, nil, ""},
	} {
		free, broken = c.free, c.broken
		d.look(t.Context())
		raised, err := alarm.Read(t.Context(), state, "main", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if len(raised) > 0 {
			got = raised[0].GetDetail()
		}
		if !strings.HasPrefix(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("%d MiB free, %v: alarm %q", c.free>>20, c.broken, got)
		}
	}
	if n, err := embedded.Free(t.TempDir()); err != nil || n == 0 {
		t.Errorf("%d bytes are free, %v", n, err)
	}
}
