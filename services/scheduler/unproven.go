package scheduler

import (
	"context"
	"fmt"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// unprovenHeld is how long the alarm stays without another look.
const unprovenHeld = 3 * time.Minute

// watchUnproven raises the alarm about windows that no answer proves read. The plan knows them,
// whichever fetcher asked, and whatever they were cut into since.
func (s *Scheduler) watchUnproven(ctx context.Context, p *planning) {
	var oldest *taplinev1.Aside
	n := 0
	for _, a := range p.state.GetAsides() {
		if a.GetFailures() == 0 { // the rest of an answer that proved a part
			continue
		}
		if n++; oldest == nil || a.GetSince().AsTime().Before(oldest.GetSince().AsTime()) {
			oldest = a
		}
	}
	if n == 0 {
		s.alarms.ClearCause(ctx, alarm.Answer, p.key)
		return
	}
	s.alarms.HoldCause(ctx, alarm.Answer, p.key, fmt.Sprintf("%d windows are not proven read, the first since %s: %s",
		n, oldest.GetSince().AsTime().Format(time.RFC3339), oldest.GetReason()), unprovenHeld)
}
