package ledger

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/quota"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// readable is how long after its hour a page may still be written to: what Proofpoint serves, and a
// day.
const readable = 8 * 24 * time.Hour

// Calls lists the calls of a pool in the day that begins with since, as the accounts of the jobs
// tell them: the memory of last resort when QUOTA is lost. A record that does not say when it was
// made is listed at the end of the next day: later is safer. [quota.ErrUnknown]: a page cannot be
// read. Calls of jobs that are not concluded are not known here.
func (l *Ledger) Calls(ctx context.Context, tenant string, pool feed.Pool, since time.Time) ([]quota.Call, error) {
	end := since.Add(2 * quota.Period)
	report, err := l.Load(ctx, tenant, since.Add(-readable), end)
	if err != nil {
		return nil, err
	}
	if keys := report.unread(PartRead); len(keys) > 0 {
		return nil, fmt.Errorf("%w: %s", quota.ErrUnknown, strings.Join(keys, ", "))
	}
	var calls []quota.Call
	for _, w := range report.windows {
		id, err := job.Parse(w.GetJobId())
		units := 0
		if err == nil {
			units = unitsOf(id, pool, made(w))
		}
		if units == 0 {
			continue
		}
		at := end
		if w.GetNotedAt() != nil {
			at = w.GetNotedAt().AsTime()
		} else if w.GetFetchedAt() != nil {
			at = w.GetFetchedAt().AsTime()
		}
		if at.After(since) {
			calls = append(calls, quota.Call{At: at, Units: units})
		}
	}
	return calls, nil
}

// unitsOf is how many of a job's calls count in a pool. It is not recorded which of them asked the
// endpoints of single feeds, so that all but the first may have been of the pool of permitted
// clicks, too.
func unitsOf(id job.ID, pool feed.Pool, calls int) int {
	own := id.Call.Pool()
	if id.Call.Kind() == feed.KindWindow {
		own = id.Set.Endpoint().Pool
	}
	switch {
	case pool == own:
		return calls
	case pool == feed.PoolSIEMPermitted && id.Call.Kind() == feed.KindWindow && slices.Contains(id.Set, feed.ClicksPermitted):
		return max(calls-1, 0)
	}
	return 0
}

// made is how many calls a job took. Versions that did not count them recorded deliveries, which
// may have waited for many things besides calls.
func made(w *taplinev1.JobRecord) int {
	const plausible = 6
	if w.GetCalls() > 0 || w.GetNotedAt() != nil {
		return int(w.GetCalls())
	}
	return min(max(int(w.GetAttempts()), 1), plausible)
}
