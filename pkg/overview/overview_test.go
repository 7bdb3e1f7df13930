package overview_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/heartbeat"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/overview"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	blocked = feed.ClicksBlocked
	fetched = taplinev1.WindowState_WINDOW_STATE_FETCHED
	lost    = taplinev1.WindowState_WINDOW_STATE_LOST
)

// began is when live reading of the tenant began, minute by minute. It is now ten minutes later.
var began = time.Date(2026, 3, 11, 8, 0, 0, 0, time.UTC)

// tenant is one with a plan of one feed.
type tenant struct {
	*testing.T
	bus    *bus.Bus
	state  *bus.Bucket
	ledger *ledger.Ledger
	plan   *taplinev1.PlanState
	limits quota.Config
	now    time.Time
}

func newTenant(t *testing.T) *tenant {
	t.Helper()
	limits := quota.Config{SIEM: 1800, SIEMPermitted: 1800, CampaignIDs: 50, VAP: 50, TopClickers: 50, ForensicsThreat: 50, ForensicsCampaign: 1800}
	b := bustest.Start(t, quota.Seeds("main")...)
	tt := &tenant{T: t, bus: b, limits: limits, now: began.Add(10 * time.Minute)}
	pages, err := b.Bucket(t.Context(), bus.BucketLedger)
	if err != nil {
		t.Fatal(err)
	}
	tt.ledger = ledger.New(pages)
	if tt.state, err = b.Bucket(t.Context(), bus.BucketState); err != nil {
		t.Fatal(err)
	}
	tt.plan = &taplinev1.PlanState{Start: at(0), BackfillNext: at(0), BackfillEnd: at(0), LiveHead: at(10)}
	return tt
}

func at(minute int) *timestamppb.Timestamp {
	return timestamppb.New(began.Add(time.Duration(minute) * time.Minute))
}

// save stores the plan as a scheduler does.
func (t *tenant) save() {
	t.Helper()
	data, err := proto.Marshal(t.plan)
	if err == nil {
		err = t.state.Put(t.Context(), "main."+feed.Set{blocked}.String(), data)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// order is the job for one minute.
func order(minute int) *taplinev1.Job {
	w := window.New(at(minute).AsTime(), at(minute+1).AsTime())
	id := job.ID{Tenant: "main", Set: feed.Set{blocked}, Window: w, Lane: taplinev1.Lane_LANE_LIVE}
	return &taplinev1.Job{Id: id.String(), Tenant: "main", Feeds: []string{string(blocked)}, Window: w.Proto(), Lane: id.Lane}
}

// read records that a minute was read and brought ten records, one batch of them.
func (t *tenant) read(minute int, change ...func(*taplinev1.JobRecord)) {
	t.Helper()
	w := &taplinev1.JobRecord{
		JobId: order(minute).GetId(), State: fetched, Batches: 1, MarkerSequence: uint64(10*minute + 2), FetchedAt: at(minute + 1),
		Feeds: []*taplinev1.FeedResult{{Feed: string(blocked), Received: 13, Duplicate: 2, Published: 10, Dead: 1}},
	}
	for _, c := range change {
		c(w)
	}
	if err := t.ledger.RecordJob(t.Context(), w); err != nil {
		t.Fatal(err)
	}
}

// deliver records that the records of a minute became rows and that the sink confirmed those.
func (t *tenant) deliver(minute int) {
	t.Helper()
	t.made(minute)
	sent := ledger.Delivery{JobID: order(minute).GetId(), Batch: rows(minute)}
	if err := t.ledger.RecordDelivery(t.Context(), sent); err != nil {
		t.Fatal(err)
	}
}

func (t *tenant) made(minute int) {
	t.Helper()
	if err := t.ledger.RecordRows(t.Context(), order(minute).GetId(), rows(minute)); err != nil {
		t.Fatal(err)
	}
}

func rows(minute int) *taplinev1.BatchRecord {
	return &taplinev1.BatchRecord{RawSequence: uint64(10*minute + 1), Feed: string(blocked), Table: blocked.Table(), Events: 10, AtMs: at(minute + 1).AsTime().UnixMilli()}
}

func (t *tenant) open() *overview.Reader {
	t.Helper()
	t.save()
	r, err := overview.Open(t.Context(), t.bus, "main", t.limits, func() time.Time { return t.now })
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// beat lets programs say that they run.
func (t *tenant) beat(stages ...string) {
	t.Helper()
	for _, stage := range stages {
		t.say(&taplinev1.Heartbeat{Stage: stage, Instance: "a-1", Version: "v1", StartedAt: timestamppb.Now(), Alive: true, Ready: true})
	}
}

func (t *tenant) say(beat *taplinev1.Heartbeat) {
	t.Helper()
	beat.At = timestamppb.Now()
	data, err := proto.Marshal(beat)
	if err == nil {
		err = t.state.Put(t.Context(), "heartbeat.main."+beat.GetStage()+"."+beat.GetInstance(), data)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (t *tenant) status() *overview.Status {
	t.Helper()
	s, err := t.open().Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (t *tenant) verify() *overview.Report {
	t.Helper()
	r, err := t.open().Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestReadIsWhatIsStored: not what was planned, and nothing is confirmed before something is.
func TestReadIsWhatIsStored(t *testing.T) {
	t.Parallel()
	tt := newTenant(t)
	for minute := range 10 {
		tt.plan.Outstanding = append(tt.plan.Outstanding, order(minute))
	}
	s := tt.status()
	if f := s.Feeds[0]; !f.Read.IsZero() || !f.Confirmed.IsZero() {
		t.Errorf("nothing was read: %+v", f)
	}
	if v := s.Verdict; v.OK || !strings.Contains(v.Text, "nothing was read yet") {
		t.Errorf("nothing was read: %+v", v)
	}
	tt.plan.Outstanding = tt.plan.Outstanding[2:]
	tt.read(0)
	tt.read(1, func(w *taplinev1.JobRecord) { w.ReadEnd = timestamppb.New(began.Add(90 * time.Second)) })
	s = tt.status()
	if f := s.Feeds[0]; !f.Read.Equal(began.Add(90*time.Second)) || !f.Confirmed.IsZero() || f.Pending != 20 {
		t.Errorf("a minute and a half are read and nothing is confirmed: %+v", f)
	}
	if s.Verdict.OK {
		t.Errorf("nothing is confirmed: %+v", s.Verdict)
	}
	tt.deliver(0)
	tt.deliver(1)
	if f := tt.status().Feeds[0]; !f.Confirmed.Equal(began.Add(90*time.Second)) || f.Pending != 0 {
		t.Errorf("what is read is confirmed, and no more: %+v", f)
	}
}

// TestVerdict: the first sentence says what is wrong, and of which things nothing is.
func TestVerdict(t *testing.T) {
	t.Parallel()
	tt := newTenant(t)
	tt.beat(heartbeat.Stages()...)
	for minute := range 10 {
		tt.read(minute)
		tt.deliver(minute)
	}
	s := tt.status()
	if v := s.Verdict; !v.OK || v.Text != "main: all is well: everything up to 08:10:00Z is confirmed" || len(v.Needs) != 0 {
		t.Errorf("all is well: %+v", v)
	}
	tt.plan.BackfillNext, tt.plan.Start = at(-180), at(-180)
	if v := tt.status().Verdict; !v.OK || !strings.Contains(v.Text, "up to 08:10:00Z is confirmed; 3 h before it are still to be read") {
		t.Errorf("during backfill: %+v", v)
	}
	tt.plan.BackfillNext, tt.plan.Start = at(0), at(0)
	tt.now = began.Add(5 * time.Hour)
	if v := tt.status().Verdict; v.OK || !strings.Contains(v.Text, "nothing after 08:10:00Z is confirmed; nothing is lost") {
		t.Errorf("five hours later: %+v", v)
	}
	tt.now = began.Add(10 * time.Minute)
	a, err := proto.Marshal(&taplinev1.Alarm{Name: "sink", Stage: "shipper", Detail: "away", Until: timestamppb.New(time.Now().Add(time.Hour))})
	if err != nil {
		t.Fatal(err)
	}
	if err := tt.state.Put(t.Context(), "alarm.main.sink.shipper", a); err != nil {
		t.Fatal(err)
	}
	if v := tt.status().Verdict; v.OK || v.Text != "main: 1 alarm: sink; nothing is lost" {
		t.Errorf("an alarm: %+v", v)
	}
	part := window.New(at(2).AsTime(), at(4).AsTime())
	if err := tt.ledger.RecordRange(t.Context(), "main", &taplinev1.RangeRecord{Window: part.Proto(), State: lost, Feeds: []string{string(blocked)}, Reason: "too old", At: at(9)}); err != nil {
		t.Fatal(err)
	}
	if v := tt.status().Verdict; v.OK || v.Text != "main: 1 alarm: sink; 1 range lost" {
		t.Errorf("an alarm and a loss: %+v", v)
	}
}

// TestUnproven: a window that was asked for in vain is listed everywhere, is not taken for read,
// and does not hide what is confirmed behind it.
func TestUnproven(t *testing.T) {
	t.Parallel()
	tt := newTenant(t)
	tt.beat(heartbeat.Stages()...)
	for minute := range 10 {
		if minute != 3 {
			tt.read(minute)
			tt.deliver(minute)
		}
	}
	tt.plan.Asides = []*taplinev1.Aside{{Job: order(3), Failures: 4, Since: at(9), RetryAt: at(12), Reason: "400 without a body"}}
	tt.plan.LagMs, tt.plan.LagAt = 90_000, at(8)
	shapes, err := proto.Marshal(&taplinev1.Shapes{Learned: []*taplinev1.LearnedShape{{Lacks: "queryEndTime", At: at(7), JobId: "j"}}})
	if err == nil {
		err = tt.state.Put(t.Context(), "shape.main", shapes)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := tt.status()
	if len(s.Unproven) != 1 || s.Unproven[0].Failures != 4 || s.Unproven[0].Lane != "live" || !s.Feeds[0].Confirmed.Equal(at(10).AsTime()) || s.Learned.Lag != 90 || len(s.Learned.Shapes) != 1 {
		t.Errorf("%+v, %+v, %+v", s.Unproven, s.Feeds, s.Learned)
	}
	if v := s.Verdict; !v.OK || !strings.HasSuffix(v.Text, "is confirmed; 1 window asked for again") {
		t.Errorf("a minute after it failed: %+v", v)
	}
	tt.plan.LiveHead = at(10)
	tt.now = began.Add(time.Hour)
	if v := tt.status().Verdict; v.OK || v.Text != "main: 1 window unproven since 08:09:00Z; nothing is lost" {
		t.Errorf("most of an hour later: %+v", v)
	}
	part := window.New(at(6).AsTime(), at(7).AsTime())
	if err := tt.ledger.RecordRange(t.Context(), "main", &taplinev1.RangeRecord{Window: part.Proto(), State: lost, Feeds: []string{string(blocked)}, Reason: "too old", At: at(9)}); err != nil {
		t.Fatal(err)
	}
	tt.plan.LiveHead, tt.plan.Outstanding = at(11), []*taplinev1.Job{order(10)}
	all, looked, err := tt.open().Gaps(t.Context())
	if err != nil || !looked || len(all) != 3 {
		t.Fatalf("%+v, %v, %v", all, looked, err)
	}
	if all[0].State != overview.Lost || all[1].State != overview.NotProven || all[2].State != overview.Waiting {
		t.Errorf("in the order of how bad they are: %+v", all)
	}
	if g := all[1]; !g.From.Equal(at(3).AsTime()) || !g.To.Equal(at(4).AsTime()) || !g.Since.Equal(at(9).AsTime()) || !strings.Contains(g.Reason, "400 without a body") {
		t.Errorf("unproven: %+v", g)
	}
	if r := tt.verify(); r.Good() || r.Lost != 1 || r.Unproven != 1 || len(r.Gaps) != 2 {
		t.Errorf("verify: %+v", r)
	}
}

// TestGapsOfOrdersAndOfFeedsThatAreOff: what was lost and is asked for once more waits, and what is
// not collected is neither lost nor missing.
func TestGapsOfOrdersAndOfFeedsThatAreOff(t *testing.T) {
	t.Parallel()
	tt := newTenant(t)
	for _, minute := range []int{0, 1, 2, 3} {
		tt.read(minute)
		tt.deliver(minute)
	}
	given := window.New(at(3).AsTime(), at(6).AsTime())
	record := &taplinev1.RangeRecord{Window: given.Proto(), State: lost, Feeds: []string{string(blocked)}, Reason: "too old", At: at(9)}
	if err := tt.ledger.RecordRange(t.Context(), "main", record); err != nil {
		t.Fatal(err)
	}
	tt.plan.Backlogs = []*taplinev1.Backlog{{Window: window.New(at(3).AsTime(), at(5).AsTime()).Proto(), Feeds: []string{string(blocked)}, Reason: "ordered"}}
	tt.plan.Offs = []*taplinev1.Off{
		{Feed: string(blocked), Start: at(2), End: at(8), Reason: "was off"},
		{Feed: string(feed.ClicksPermitted), Start: at(0), Reason: "is off"},
	}
	all, _, err := tt.open().Gaps(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []overview.Gap{
		{Feed: blocked, From: at(5).AsTime(), To: at(6).AsTime(), State: overview.Lost, Reason: "too old"},
		{Feed: blocked, From: at(8).AsTime(), To: at(10).AsTime(), State: overview.Missing, Reason: "no job covers it"},
		{Feed: blocked, From: at(3).AsTime(), To: at(5).AsTime(), State: overview.Waiting, Reason: "ordered"},
		{Feed: feed.ClicksPermitted, From: at(0).AsTime(), To: at(10).AsTime(), State: overview.Off, Reason: "is off"},
		{Feed: blocked, From: at(6).AsTime(), To: at(8).AsTime(), State: overview.Off, Reason: "was off"},
	}
	if !sameGaps(all, want) {
		t.Errorf("%+v", all)
	}
	if r := tt.verify(); len(r.Gaps) != 2 || r.Lost != 1 {
		t.Errorf("verify: %+v", r.Gaps)
	}
}

// sameGaps compares without regard to order.
func sameGaps(a, b []overview.Gap) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(g overview.Gap) bool { return !slices.Contains(b, g) })
}

// TestVerifyExplainsItsSums: from what was received to what is confirmed nothing is left to guess
// at.
func TestVerifyExplainsItsSums(t *testing.T) {
	t.Parallel()
	tt := newTenant(t)
	if r := tt.verify(); r.Good() || r.Compared != 0 {
		t.Errorf("before anything was read: %+v", r)
	}
	for minute := range 10 {
		tt.read(minute)
		switch {
		case minute < 8:
			tt.deliver(minute)
		case minute < 9:
			tt.made(minute)
		}
	}
	// A list of campaigns: its entries make no rows.
	w := window.New(at(0).AsTime(), at(60).AsTime())
	list := job.ID{Tenant: "main", Call: feed.CallCampaignIDs, Window: w, Lane: taplinev1.Lane_LANE_LIST, Pass: 1}
	err := tt.ledger.RecordJob(t.Context(), &taplinev1.JobRecord{
		JobId: list.String(), State: fetched, Batches: 1, MarkerSequence: 1002, Feeds: []*taplinev1.FeedResult{{Feed: string(feed.Campaigns), Received: 7, Published: 7}},
	})
	if err == nil {
		err = tt.ledger.RecordRows(t.Context(), list.String(), &taplinev1.BatchRecord{RawSequence: 1001, Feed: string(feed.Campaigns), Table: feed.Campaigns.Table(), Extra: -7})
	}
	if err != nil {
		t.Fatal(err)
	}
	for i, reason := range []string{"not JSON", "not JSON", "too long"} {
		letter := &taplinev1.DeadLetter{Tenant: "main", Stage: "fetcher", Feed: string(blocked), Reason: reason, Payload: []byte{byte(i)}}
		if err := tt.bus.PublishDead(t.Context(), letter, reason+string(rune('0'+i))); err != nil {
			t.Fatal(err)
		}
	}
	r := tt.verify()
	want := overview.Sums{
		Received: 137, Duplicates: 20, FetcherDead: 10, Records: 107, Rowless: 7, Unmade: 10, Rows: 90, Unconfirmed: 10, Confirmed: 80, Pending: 20,
	}
	if r.Sums != want {
		t.Errorf("sums %+v, want %+v", r.Sums, want)
	}
	if !r.Good() || r.Compared != 11 || len(r.Dead) != 2 || r.Dead[0].Letters != 2 || r.Dead[0].Reason != "not JSON" || r.Dead[0].Stage != "fetcher" {
		t.Errorf("%+v", r)
	}
}

// TestTenants: those of whom something is known.
func TestTenants(t *testing.T) {
	t.Parallel()
	tt := newTenant(t)
	for _, key := range []string{"list.lists.campaigns", "heartbeat.young.fetcher.a-1", "alarm.nobody.sink.shipper", "shape.nobody", "second.all"} {
		if err := tt.state.Put(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
	}
	names, err := tt.open().Tenants(t.Context())
	if err != nil || strings.Join(names, " ") != "lists main second young" {
		t.Errorf("%q, %v", names, err)
	}
}
