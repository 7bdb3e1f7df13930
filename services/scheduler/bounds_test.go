package scheduler_test

import (
	"strings"
	"testing"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/quota"
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

// TestOneStreamThatCannotBeSeen hinders neither plans nor the others: NATS users of an older
// version may not look at JOBS.
func TestOneStreamThatCannotBeSeen(t *testing.T) {
	t.Parallel()
	b, faults := bustest.StartFaulty(t, quota.Seeds("main")...)
	bustest.Publish(t, faults.Server, "dead.main.shipper.x.y", make([]byte, 1<<20))
	bustest.Fill(t, faults.Server, bus.StreamDead) // which comes after JOBS
	denied := faults.Fail(func(subject, _ string, _ []byte) bool { return subject == "$JS.API.STREAM.INFO.JOBS" }, bustest.Fault{Times: -1})
	log, _ := heard(t, b, still, "TAP_START_TIME=1h")
	poll(t, func() bool { return log.say("cannot look at the bounds of streams") })
	seen := &stages{t: t, b: b}
	poll(t, func() bool { return strings.HasPrefix(seen.alarm(alarm.Disk), "DEAD holds 1 MiB") })
	denied.Await(t, 3)
	denied.End()
	poll(t, func() bool { return log.say("looking at the bounds of streams works again") })
	log.mu.Lock()
	defer log.mu.Unlock()
	if text := log.text.String(); strings.Contains(text, "cannot plan") || strings.Count(text, "cannot look at the bounds") != 1 {
		t.Errorf("logged: %s", text)
	}
}
