package fetcher_test

import (
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/tapsim"
)

// TestOne401AndAProbeThatTellsNothing: a proxy refuses the credential once, and the endpoint of the
// probe answers 403 or not at all. The call of one job is the probe then.
func TestOne401AndAProbeThatTellsNothing(t *testing.T) {
	t.Parallel()
	const probed = "/v2/threat/summary/"
	for name, fault := range map[string]tapsim.Fault{
		"forbidden": {Kind: tapsim.FaultStatus, Status: 403, Path: probed},
		"broken":    {Kind: tapsim.FaultReset, Path: probed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := hasty(t)
			b.inject(t, tapsim.Fault{Kind: tapsim.FaultStatus, Status: 401, Count: 1, Path: feed.SIEMAll.Path}, fault)
			job := b.job(b.window, 0)
			b.plan(t, job)
			b.start(t)
			if r := b.record(t, job); r.GetState() != fetched || b.calls() != 2 {
				t.Errorf("%d calls: %v", b.calls(), r)
			}
		})
	}
}

// TestAWayThatIsClosed: the usual endpoint answers oddly once, and of the others one may not be
// read, is limited, or has no unit left. The usual one is asked again, and what others bring is not
// asked for again and again.
func TestAWayThatIsClosed(t *testing.T) {
	t.Parallel()
	path := feed.Set{feed.ClicksPermitted}.Endpoint().Path
	for name, c := range map[string]struct {
		faults []tapsim.Fault
		spent  bool
		most   int // calls
	}{
		"forbidden": {[]tapsim.Fault{{Kind: tapsim.FaultStatus, Status: 403, Path: path}}, false, 6},
		"limited":   {[]tapsim.Fault{{Kind: tapsim.FaultStatus, Status: 429, Path: path}}, false, 6},
		"no unit":   {nil, true, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := hasty(t)
			b.start(t, "QUOTA_SIEM_PERMITTED=1")
			if c.spent {
				single := b.sweep(b.window)
				single.Feeds, single.Id = []string{string(feed.ClicksPermitted)}, "main/clicksPermitted/"+b.window.Compact("/")+"/sweep/10"
				b.plan(t, single)
				b.record(t, single)
			}
			b.inject(t, append(c.faults, tapsim.Fault{Kind: tapsim.FaultBadRequest, Count: 1, Path: feed.SIEMAll.Path})...)
			job := b.job(b.window, 0)
			b.plan(t, job)
			if r := b.record(t, job); r.GetState() != fetched || b.calls() > c.most {
				t.Errorf("%d calls: %v", b.calls(), r)
			}
		})
	}
}

// TestAnOddAnswerWithAnOldDate, as from a cache, is odd and not early: the window is asked for
// another way.
func TestAnOddAnswerWithAnOldDate(t *testing.T) {
	t.Parallel()
	b := hasty(t)
	b.inject(t, tapsim.Fault{Kind: tapsim.FaultNoArrays, Path: feed.SIEMAll.Path}, tapsim.Fault{Kind: tapsim.FaultDate, Delay: -10 * 24 * time.Hour})
	job := b.job(b.window, 0)
	b.plan(t, job)
	b.start(t)
	if r := b.record(t, job); r.GetState() != fetched || b.calls() > 5 {
		t.Errorf("%d calls: %v", b.calls(), r)
	}
}
