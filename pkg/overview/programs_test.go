package overview_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// TestPrograms: each that should run has a line, and one that does not run, or cannot make
// progress, needs a person.
func TestPrograms(t *testing.T) {
	t.Parallel()
	tt := newTenant(t)
	for minute := range 10 {
		tt.read(minute)
		tt.deliver(minute)
	}
	tt.beat("scheduler", "fetcher", "enricher")
	s := tt.status()
	if p := s.Programs; len(p) != 4 || p[0].Replicas != 1 || p[0].Last.IsZero() || p[0].Versions[0] != "v1" || p[3].Stage != "shipper" || p[3].Replicas != 0 {
		t.Errorf("%+v", p)
	}
	if v := s.Verdict; v.OK || !strings.Contains(v.Text, "no heartbeat of shipper") {
		t.Errorf("without a shipper: %+v", v)
	}
	tt.beat("shipper")
	if v := tt.status().Verdict; !v.OK {
		t.Errorf("with a shipper: %+v", v)
	}
	tt.say(&taplinev1.Heartbeat{Stage: "shipper", Instance: "b-1", Version: "v2", StartedAt: timestamppb.Now(), Alive: true, Troubles: map[string]string{"shipper": "starting"}})
	s = tt.status()
	if p := s.Programs[3]; !s.Verdict.OK || p.Replicas != 2 || len(p.Versions) != 2 || p.Troubles[0] != "b-1: shipper: starting" {
		t.Errorf("a replica that starts: %+v, %+v", p, s.Verdict)
	}
	hour := timestamppb.New(time.Now().Add(-time.Hour))
	tt.say(&taplinev1.Heartbeat{Stage: "shipper", Instance: "b-1", Version: "v2", StartedAt: hour, Alive: true, Troubles: map[string]string{"heartbeat": "the bus cannot be written"}})
	if v := tt.status().Verdict; v.OK || !strings.Contains(v.Text, "shipper cannot make progress: b-1: heartbeat: the bus cannot be written") {
		t.Errorf("a replica that is not ready: %+v", v)
	}
	tt.say(&taplinev1.Heartbeat{Stage: "shipper", Instance: "b-1", Version: "v2", StartedAt: hour, Alive: true, Ready: true, Ended: true})
	tt.say(&taplinev1.Heartbeat{Stage: "shipper", Instance: "a-1", Version: "v1", StartedAt: hour, Ready: true, Troubles: map[string]string{"lane 0": "stuck for 2m0s"}})
	if v := tt.status().Verdict; v.OK || !strings.Contains(v.Text, "lane 0: stuck") {
		t.Errorf("a process that is stuck: %+v", v)
	}
	tt.say(&taplinev1.Heartbeat{Stage: "shipper", Instance: "a-1", Version: "v1", StartedAt: hour, Alive: true, Ready: true, Ended: true})
	if v := tt.status().Verdict; v.OK || !strings.Contains(v.Text, "ended at") {
		t.Errorf("all have ended: %+v", v)
	}
}
