package fetcher

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/fetcher/internal/bound"
	"github.com/tapline/tapline/services/fetcher/internal/clock"
	"github.com/tapline/tapline/services/fetcher/internal/pace"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
)

var noon = time.Date(2026, 3, 11, 12, 0, 0, 0, time.UTC)

// windowOf is a window that ends at noon, as a job of some feeds in a lane.
func windowOf(span time.Duration, lane taplinev1.Lane, pass uint32, set ...feed.Feed) *work {
	w := window.New(noon.Add(-span), noon)
	order := &taplinev1.Job{Tenant: "main", Feeds: feed.Names(set), Window: w.Proto(), Lane: lane, Pass: pass}
	id, err := job.Of(order)
	if err != nil {
		panic(err)
	}
	order.Id = id.String()
	return &work{job: order, id: id, set: id.Set, window: w, endpoint: id.Set.Endpoint()}
}

func encoded(t *testing.T, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func api(kind proofpoint.Kind) error { return &proofpoint.APIError{Kind: kind} }

// TestWhoseAFailureIs: an id's own, or the endpoint's, and whether it is odd.
func TestWhoseAFailureIs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err                  error
		own, suspicious, odd bool
	}{
		{errBadJob, true, false, true},
		{errBusy, false, false, true},
		{&outage{api(proofpoint.ServerError)}, false, true, false},
		{api(proofpoint.Network), false, false, false},
		{api(proofpoint.Canceled), false, false, false},
		{api(proofpoint.BadCredentials), false, false, false},
		{api(proofpoint.Forbidden), false, false, false},
		{api(proofpoint.TooManyRequests), false, false, false},
		{api(proofpoint.ServerError), true, true, false},
		{api(proofpoint.Timeout), true, true, false},
		{api(proofpoint.Truncated), true, true, false},
		{api(proofpoint.Malformed), true, false, false},
		{api(proofpoint.TooLarge), true, false, false},
		{api(proofpoint.NotFound), true, false, true},
		{api(proofpoint.BadRequest), true, false, true},
		{api(proofpoint.Odd), true, false, true},
		{api(proofpoint.Unexpected), true, false, true},
		{api(proofpoint.StillCurrent), true, false, true},
	} {
		if own(c.err) != c.own || suspicious(c.err) != c.suspicious || odd(c.err) != c.odd {
			t.Errorf("%v: own %t, suspicious %t, odd %t", c.err, own(c.err), suspicious(c.err), odd(c.err))
		}
	}
	for _, err := range []error{errTooEarly, errCoolingDown, errNoRoom, errSpent} {
		if !uncalled(fmt.Errorf("job: %w", err)) {
			t.Errorf("%v is no call", err)
		}
	}
	if uncalled(errBadJob) || uncalled(nil) {
		t.Error("a call was made for each other reason")
	}
	for err, want := range map[error]bool{bus.ErrAlreadyStored: true, bus.ErrTooLarge: true, cutError(true): true, bus.Permanent(errBadJob): true, bus.ErrFull: false, errBadJob: false, context.Canceled: false} {
		if final(err) != want {
			t.Errorf("%v is final: %t", err, !want)
		}
	}
	if cutError(false) != nil {
		t.Error("what is not cut is no error")
	}
}

// TestWhatIsDoubted: feeds that lacked come first, paths are left for others, and five different
// ids that fail in a row are not at fault.
func TestWhatIsDoubted(t *testing.T) {
	t.Parallel()
	d := newDoubts()
	d.missing([]feed.Feed{feed.MessagesBlocked})
	set := feed.SIEM()
	slices.SortStableFunc(set, d.compare)
	if want := []feed.Feed{feed.MessagesBlocked, feed.ClicksBlocked, feed.ClicksPermitted, feed.MessagesDelivered}; !slices.Equal(set, want) {
		t.Errorf("asked in the order %v", set)
	}
	d.proven("/all", true)
	if !d.detour("/all") || d.detour("/clicks") {
		t.Error("others prove what /all does not, and no more")
	}
	if d.proven("/all", false); d.detour("/all") {
		t.Error("/all proves its windows again")
	}
	for i, id := range []string{"a", "b", "a", "c", "d", "e", "f"} {
		if got := d.strange(feed.CallThreat, id); got != (i >= 5) {
			t.Errorf("failure %d, of %s: the endpoint is the reason: %t", i+1, id, got)
		}
	}
	if d.strange(feed.CallCampaign, "a") {
		t.Error("another kind is as strange")
	}
	if d.answered(feed.CallThreat); d.strange(feed.CallThreat, "g") {
		t.Error("an answer changes nothing")
	}
}

// TestOneQuestionForOneID: about the target that knows the campaign.
func TestOneQuestionForOneID(t *testing.T) {
	t.Parallel()
	target := func(id, campaign string) *taplinev1.Target { return &taplinev1.Target{Id: id, Campaign: campaign} }
	questions := questionsOf([]*taplinev1.Target{target("a", ""), target("b", "x"), target("a", "y"), target("a", "z"), target("b", "")})
	got := ""
	for _, q := range questions {
		got += fmt.Sprintf("%s of %s for %d; ", q.target.GetId(), q.target.GetCampaign(), len(q.same))
	}
	if want := "a of y for 3; b of x for 2; "; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestHowAWindowCanBeCut, and when it is due.
func TestHowAWindowCanBeCut(t *testing.T) {
	t.Parallel()
	live, sweep := taplinev1.Lane_LANE_LIVE, taplinev1.Lane_LANE_SWEEP
	for name, c := range map[string]struct {
		w                   *work
		overlap             time.Duration
		divisible, shortens bool
	}{
		"a minute of one feed":     {windowOf(time.Minute, live, 0, feed.ClicksBlocked), 0, true, true},
		"a second less":            {windowOf(59*time.Second, live, 0, feed.ClicksBlocked), 0, false, false},
		"a second less of two":     {windowOf(59*time.Second, live, 0, feed.ClicksBlocked, feed.ClicksPermitted), 0, true, false},
		"read but for 30 seconds":  {windowOf(59*time.Second, live, 0, feed.ClicksBlocked), 29 * time.Second, true, true},
		"read but for 29 seconds":  {windowOf(59*time.Second, live, 0, feed.ClicksBlocked), 30 * time.Second, true, false},
		"a second of it was read":  {windowOf(59*time.Second, live, 0, feed.ClicksBlocked), time.Second, true, true},
		"an hour, nearly all read": {windowOf(time.Hour, live, 0, feed.ClicksBlocked), 3580 * time.Second, true, false},
	} {
		c.w.job.Overlap = uint32(c.overlap / time.Second)
		if c.w.divisible() != c.divisible || c.w.shortens() != c.shortens {
			t.Errorf("%s: divisible %t, shortens %t", name, c.w.divisible(), c.w.shortens())
		}
		if unread := c.w.unread(); !unread.Equal(c.w.window.Start.Add(c.overlap)) {
			t.Errorf("%s: unread from %s", name, unread)
		}
	}
	page := windowOf(time.Hour, live, 0, feed.ClicksBlocked)
	if page.id.Call = feed.CallCampaignIDs; page.divisible() {
		t.Error("a page is cut")
	}
	for name, c := range map[string]struct {
		w      *work
		margin uint32 // milliseconds
		due    time.Duration
		young  bool
	}{
		"a sweep":            {windowOf(time.Hour, sweep, 35, feed.ClicksBlocked), 5000, 35 * time.Minute, false},
		"a live window":      {windowOf(time.Hour, live, 0, feed.ClicksBlocked), 5000, 4 * time.Second, true},
		"without a margin":   {windowOf(time.Hour, live, 0, feed.ClicksBlocked), 0, 0, true},
		"half a second":      {windowOf(time.Hour, live, 0, feed.ClicksBlocked), 500, 0, true},
		"a margin of hours":  {windowOf(time.Hour, live, 0, feed.ClicksBlocked), 9_000_000, time.Hour, true},
		"backfill once more": {windowOf(time.Hour, taplinev1.Lane_LANE_BACKFILL, 35, feed.ClicksBlocked), 2000, time.Second, true},
	} {
		c.w.job.MarginMs = c.margin
		if due := c.w.due().Sub(noon); due != c.due || c.w.young() != c.young {
			t.Errorf("%s: due %s after its end, young %t", name, due, c.w.young())
		}
	}
	aside := windowOf(time.Hour, live, 0, feed.ClicksBlocked)
	if aside.job.Aside = true; aside.young() || aside.key("/x") != (pace.Key{Lane: "aside", Endpoint: "/x"}) {
		t.Error("what was set aside is not at the head, and has a breaker of its own")
	}
}

// TestDensity: what an hour brings, from what a window brought.
func TestDensity(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		records, size int64
		span          time.Duration
		want          uint32
	}{
		{0, 0, time.Hour, 0},
		{bound.Records, 0, time.Hour, 1000},
		{0, bound.Body, time.Hour, 1000},
		{bound.Records / 2, bound.Body / 4, time.Hour, 500},
		{bound.Records / 4, bound.Body / 2, 30 * time.Minute, 1000},
		{bound.Records * 1000, bound.Body, time.Microsecond, 1e9},
	} {
		if got := permille(c.records, c.size, c.span); got != c.want {
			t.Errorf("%d records, %d bytes of %s: %d, want %d", c.records, c.size, c.span, got, c.want)
		}
	}
	if got := fills(1200, 30*time.Minute); got != 600 {
		t.Errorf("half an hour of 1200: %f", got)
	}
	for _, c := range []struct {
		one, other uint32
		want       bool
	}{{1000, 1000, true}, {1000, 876, true}, {1000, 875, false}, {875, 1000, false}, {876, 1000, true}} {
		if within(c.one, c.other) != c.want {
			t.Errorf("%d and %d are near: %t", c.one, c.other, !c.want)
		}
	}
	w := windowOf(time.Hour, taplinev1.Lane_LANE_LIVE, 0, feed.ClicksBlocked)
	for _, c := range []struct {
		lane, path string
		want       bool
	}{{"live", w.endpoint.Path, true}, {"sweep", w.endpoint.Path, false}, {"live", "/other", false}} {
		if got := w.like(&taplinev1.Density{Lane: c.lane, Path: c.path}); got != c.want {
			t.Errorf("%s of %s is meant: %t", c.lane, c.path, got)
		}
	}
	whole, wider := call{w.endpoint, w.window}, call{w.endpoint, window.New(w.window.Start, w.window.End.Add(time.Minute))}
	other := call{feed.SIEMAll, w.window}
	for i, c := range []struct {
		calls []call
		want  bool
	}{{[]call{whole}, true}, {[]call{wider}, false}, {[]call{other}, false}, {[]call{whole, whole}, false}, {nil, false}} {
		if w.asked(c.calls) != c.want {
			t.Errorf("calls %d tell what the window brings: %t", i, !c.want)
		}
	}
}

// TestWhatMayBeLearnedToBeNormal of what an answer lacks.
func TestWhatMayBeLearnedToBeNormal(t *testing.T) {
	t.Parallel()
	one, two := []feed.Feed{feed.ClicksBlocked}, []feed.Feed{feed.ClicksBlocked, feed.ClicksPermitted}
	for name, c := range map[string]struct {
		e    proofpoint.Evidence
		flaw proofpoint.Flaw
		want string
	}{
		"no end":                     {proofpoint.Evidence{}, proofpoint.Flaw{Kind: proofpoint.NoQueryEnd}, queryEnd},
		"an end in other words":      {proofpoint.Evidence{EndText: "noon"}, proofpoint.Flaw{Kind: proofpoint.NoQueryEnd}, ""},
		"one array":                  {proofpoint.Evidence{}, proofpoint.Flaw{Kind: proofpoint.MissingArray, Feeds: one}, "clicksBlocked"},
		"two of some":                {proofpoint.Evidence{Present: one}, proofpoint.Flaw{Kind: proofpoint.MissingArray, Feeds: two}, "clicksBlocked clicksPermitted"},
		"all of two":                 {proofpoint.Evidence{}, proofpoint.Flaw{Kind: proofpoint.MissingArray, Feeds: two}, ""},
		"one spelled in another way": {proofpoint.Evidence{Others: []string{"CLICKSBLOCKED"}}, proofpoint.Flaw{Kind: proofpoint.MissingArray, Feeds: one}, ""},
		"one beside another":         {proofpoint.Evidence{Others: []string{"clicks"}}, proofpoint.Flaw{Kind: proofpoint.MissingArray, Feeds: one}, "clicksBlocked"},
		"an end that is early":       {proofpoint.Evidence{}, proofpoint.Flaw{Kind: proofpoint.EarlyQueryEnd, Feeds: one}, ""},
	} {
		if got := strings.Join(lacks(c.e, &c.flaw), " "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestWhatIsKeptOfMalformedRecords: so many, and so many bytes; the others are summed up in any
// order.
func TestWhatIsKeptOfMalformedRecords(t *testing.T) {
	t.Parallel()
	k := keeping{records: bound.Letters - 1}
	if !k.takes(1) || k.takes(0) {
		t.Errorf("%d records are kept", k.records)
	}
	k = keeping{bytes: bound.LetterBytes - 10}
	if k.takes(11) || !k.takes(10) || k.takes(1) || !k.takes(0) {
		t.Errorf("%d bytes are kept in %d records", k.bytes, k.records)
	}
	var x, y excess
	first, second := digest(nil, []byte("a")), digest(nil, []byte("b"))
	x.add(first, 3)
	x.add(second, 4)
	y.add(second, 4)
	if y == x {
		t.Error("one record is as much as two")
	}
	if y.add(first, 3); x != y || x.records != 2 || x.bytes != 7 || x.sum == 0 {
		t.Errorf("%+v, and in another order %+v", x, y)
	}
}

// TestWhereRecordsAreRemembered: by their own time, unless that is far from their window.
func TestWhereRecordsAreRemembered(t *testing.T) {
	t.Parallel()
	w := window.New(noon.Add(-time.Hour), noon)
	before, after := w.Start.Add(-bound.Before), w.End.Add(bound.After)
	for at, want := range map[time.Time]bool{noon: true, before: false, before.Add(time.Millisecond): true, after: false, after.Add(-time.Millisecond): true} {
		if near(at.UnixMilli(), w) != want {
			t.Errorf("%s is near %s: %t", at, w, !want)
		}
	}
	old := noon.Add(-clock.Near)
	if lies(old, w) || !lies(old.Add(-time.Millisecond), w) {
		t.Error("a Date lies when it is clearly older than what was served")
	}
	for text, want := range map[string]int64{`{"totalVapUsers":7}`: 7, `{"totalTopClickers":8}`: 8, `{"totalVapUsers":-7}`: 0, `{"totalVapUsers":"x","totalTopClickers":9}`: 9, `{}`: 0, ``: 0} {
		if got := total([]byte(text)); got != want {
			t.Errorf("%s is a list of %d", text, got)
		}
	}
}
