package scheduler_test

import (
	"strings"
	"testing"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
)

// TestBoundsAreToldBeforeTheyAreMet: a stream or a bucket that has nearly what it may have is an
// alarm that names it, as long as that is so.
func TestBoundsAreToldBeforeTheyAreMet(t *testing.T) {
	t.Parallel()
	for _, name := range []string{bus.StreamJobs, bus.StreamDead, "KV_" + bus.BucketKnown} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := smallStreams(t)
			subject := map[string]string{bus.StreamJobs: "job.main.retry.x", bus.StreamDead: "dead.main.shipper.x.y"}[name]
			if subject == "" {
				subject = "$KV.KNOWN.main.x"
			}
			bustest.Publish(t, s.server, subject, make([]byte, 1<<20))
			room := bustest.Fill(t, s.server, name)
			defer start(t, s.b, still, "TAP_START_TIME=1h")()
			poll(t, func() bool { return strings.HasPrefix(s.alarm(alarm.Disk), name+" holds 1 MiB and may hold 1 MiB") })
			room()
			poll(t, func() bool { return s.alarm(alarm.Disk) == "" })
		})
	}
}
