package job

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Lanes by the name they have in subjects, job ids and metrics, in order of priority.
const (
	Live       = "live"
	Sweep      = "sweep"
	Backfill   = "backfill"
	List       = "list"
	Expand     = "expand"
	Retry      = "retry"
	Forensics1 = "forensics-1"
	Forensics2 = "forensics-2"
	Forensics3 = "forensics-3"
	Forensics4 = "forensics-4"
)

// Lanes lists the lanes in order of priority; SIEM records come first.
func Lanes() []string {
	return []string{Live, Sweep, Backfill, List, Expand, Retry, Forensics1, Forensics2, Forensics3, Forensics4}
}

// Aside is the queue of windows that were asked for in vain, whatever their lane: see Job.aside.
const Aside = "aside"

// SIEMLanes lists the lanes of windows of SIEM records.
func SIEMLanes() []string { return Lanes()[:3] }

// LaneName is the name of a lane; "" for one that does not exist.
func LaneName(lane taplinev1.Lane) string {
	names := Lanes()
	if lane < taplinev1.Lane_LANE_LIVE || int(lane) > len(names) {
		return ""
	}
	return names[lane-1]
}

// ErrMalformed is wrapped by the errors of [Parse].
var ErrMalformed = errors.New("malformed job id")

// ID is a job's name, taken apart.
type ID struct {
	Tenant string
	Call   feed.Call
	Set    feed.Set // of a call other than SIEM: the one feed that the answer belongs to
	Window window.Window
	Lane   taplinev1.Lane
	// Pass is Job.pass: the age of a sweep in minutes, the number of a page, or, elsewhere, what
	// tells a job from others of its window.
	Pass   uint32
	Target string // of a job that asks about a single id or list; empty for several ids
}

// What names the endpoint: the call, or the set of SIEM feeds.
func (id ID) What() string {
	if id.Call.Kind() == feed.KindWindow {
		return id.Set.String()
	}
	return string(id.Call)
}

// SweepAge is how old the window of a sweep is when it is read.
func (id ID) SweepAge() time.Duration { return time.Duration(id.Pass) * time.Minute }

// Page is which page a job of a list reads.
func (id ID) Page() int { return int(id.Pass) }

// String puts the id together.
func (id ID) String() string {
	s := fmt.Sprintf("%s/%s/%s/%s/%d", id.Tenant, id.What(), id.Window.Compact("/"), LaneName(id.Lane), id.Pass)
	if id.Target != "" {
		s += "/" + id.Target
	}
	return s
}

// Of is the id of a job, from the job's parts.
func Of(j *taplinev1.Job) (ID, error) {
	w, err := window.FromProto(j.GetWindow())
	if err != nil {
		return ID{}, fmt.Errorf("job %s: %w", j.GetId(), err)
	}
	id := ID{Tenant: j.GetTenant(), Call: feed.Call(j.GetCall()), Window: w, Lane: j.GetLane(), Pass: j.GetPass()}
	if id.Call.Kind() != feed.KindWindow {
		id.Set = feed.Set{id.Call.Feed()}
		if len(j.GetTargets()) == 1 && j.GetLane() != taplinev1.Lane_LANE_EXPAND {
			id.Target = j.GetTargets()[0].GetId()
		}
		return id, nil
	}
	for _, name := range j.GetFeeds() {
		id.Set = append(id.Set, feed.Feed(name))
	}
	return id, nil
}

// Parse reads what [ID.String] wrote. Only the very text that String writes is an id.
func Parse(s string) (ID, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 6 && len(parts) != 7 {
		return ID{}, fmt.Errorf("%w: %q: want <tenant>/<feed set or call>/<start>/<end>/<lane>/<pass>[/<target>]", ErrMalformed, s)
	}
	var call feed.Call
	set, ok := feed.ParseSet(parts[1])
	if !ok {
		call = feed.Call(parts[1])
		set, ok = feed.Set{call.Feed()}, call != feed.CallSIEM && call.Valid()
	}
	lane := taplinev1.Lane(slices.Index(Lanes(), parts[4]) + 1)
	pass, err := strconv.ParseUint(parts[5], 10, 32)
	if !ok || LaneName(lane) == "" || err != nil {
		return ID{}, fmt.Errorf("%w: %q: feed set, lane or pass", ErrMalformed, s)
	}
	w, err := window.ParseCompact(parts[2]+"/"+parts[3], "/")
	if err != nil {
		return ID{}, fmt.Errorf("%w: %q: %w", ErrMalformed, s, err)
	}
	id := ID{Tenant: parts[0], Call: call, Set: set, Window: w, Lane: lane, Pass: uint32(pass)}
	if len(parts) == 7 {
		id.Target = parts[6]
	}
	if len(parts) == 7 && (call == feed.CallSIEM || !feed.Askable(id.Target)) {
		return ID{}, fmt.Errorf("%w: %q: target", ErrMalformed, s)
	}
	if id.String() != s || id.Tenant == "" || w.Empty() {
		return ID{}, fmt.Errorf("%w: %q: not as it is written by this program", ErrMalformed, s)
	}
	return id, nil
}
