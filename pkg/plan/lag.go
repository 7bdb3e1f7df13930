package plan

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Proofpoint may serve some time behind its clock. Its answers say how far, and live windows then
// end so far behind the present. From time to time a little less is tried, so that what was learned
// is not kept for ever.
const (
	maxLag   = time.Hour
	lagSlack = 5 * time.Second
	// lagLasts is how long what was learned holds before a quarter less is tried.
	lagLasts = 30 * time.Minute
)

// margin is how far behind the present a window has to end.
func (p *planner) margin() time.Duration {
	if lag := p.lag(); lag > 0 {
		return max(p.c.Margin, lag+lagSlack)
	}
	return p.c.Margin
}

func (p *planner) lag() time.Duration { return time.Duration(p.s.GetLagMs()) * time.Millisecond }

func (p *planner) setLag(lag time.Duration) {
	if lag < max(p.c.Margin, time.Second) {
		lag = 0
	}
	p.s.LagMs, p.s.LagAt = min(lag, maxLag).Milliseconds(), timestamppb.New(p.in.Now)
}

// learn takes what an outcome says of how far behind Proofpoint serves. A window that was read
// whole shows that it is not further behind than the window was old.
func (p *planner) learn(j *taplinev1.Job, record *taplinev1.JobRecord) {
	if record == nil || record.GetFailures() > 0 && record.GetFailures() <= j.GetFailures() {
		return // known before
	}
	if ms := record.GetLagMs(); ms > 0 && firstReading(j) && !j.GetAside() { // what is old tells nothing of the head
		p.setLag(time.Duration(ms) * time.Millisecond)
		return
	}
	age := record.GetReadAt().AsTime().Sub(span(j).End)
	if record.GetState() == taplinev1.WindowState_WINDOW_STATE_FETCHED && record.GetReadEnd() == nil && age > 0 && age < p.lag() {
		p.setLag(age)
	}
}

// decay tries a little less after a while.
func (p *planner) decay() {
	if p.lag() > 0 && p.in.Now.Sub(p.s.GetLagAt().AsTime()) >= lagLasts {
		p.setLag(p.lag() * 3 / 4)
	}
}
