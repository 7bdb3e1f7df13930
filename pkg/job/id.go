package job

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Lanes by the name they have in subjects, job ids and metrics, in order of priority.
const (
	Live     = "live"
	Sweep    = "sweep"
	Backfill = "backfill"
)

// Lanes lists the lanes in order of priority.
func Lanes() []string { return []string{Live, Sweep, Backfill} }

// LaneName is the name of a lane; "" for one that does not exist.
func LaneName(lane taplinev1.Lane) string {
	if lane < taplinev1.Lane_LANE_LIVE || lane > taplinev1.Lane_LANE_BACKFILL {
		return ""
	}
	return Lanes()[lane-1]
}

// ErrMalformed is wrapped by the errors of [Parse].
var ErrMalformed = errors.New("malformed job id")

// ID is a job's name, taken apart.
type ID struct {
	Tenant string
	Set    feed.Set
	Window window.Window
	Lane   taplinev1.Lane
	Pass   uint32 // 0 for the first reading, else the age of the window in minutes
}

// String puts the id together.
func (id ID) String() string {
	return fmt.Sprintf("%s/%s/%s/%s/%d", id.Tenant, id.Set, id.Window.Compact("/"), LaneName(id.Lane), id.Pass)
}

// Of is the id of a job, from the job's parts.
func Of(j *taplinev1.Job) (ID, error) {
	w, err := window.FromProto(j.GetWindow())
	if err != nil {
		return ID{}, fmt.Errorf("job %s: %w", j.GetId(), err)
	}
	id := ID{Tenant: j.GetTenant(), Window: w, Lane: j.GetLane(), Pass: j.GetPass()}
	for _, name := range j.GetFeeds() {
		id.Set = append(id.Set, feed.Feed(name))
	}
	return id, nil
}

// Parse reads what [ID.String] wrote. Only the very text that String writes is an id.
func Parse(s string) (ID, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 6 {
		return ID{}, fmt.Errorf("%w: %q: want <tenant>/<feed set>/<start>/<end>/<lane>/<pass>", ErrMalformed, s)
	}
	set, ok := feed.ParseSet(parts[1])
	lane := taplinev1.Lane(slices.Index(Lanes(), parts[4]) + 1)
	pass, err := strconv.ParseUint(parts[5], 10, 32)
	if !ok || LaneName(lane) == "" || err != nil {
		return ID{}, fmt.Errorf("%w: %q: feed set, lane or pass", ErrMalformed, s)
	}
	w, err := window.ParseCompact(parts[2]+"/"+parts[3], "/")
	if err != nil {
		return ID{}, fmt.Errorf("%w: %q: %w", ErrMalformed, s, err)
	}
	id := ID{Tenant: parts[0], Set: set, Window: w, Lane: lane, Pass: uint32(pass)}
	if id.String() != s || id.Tenant == "" || w.Empty() {
		return ID{}, fmt.Errorf("%w: %q: not as it is written by this program", ErrMalformed, s)
	}
	return id, nil
}
