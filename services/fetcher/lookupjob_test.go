package fetcher_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/known"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/tapsim"
)

// threats lists ids that the simulator knows.
func (b *bench) threats(t *testing.T, n int) (ids []string) {
	t.Helper()
	for truth := range b.sim.Derived(b.sim.Now()) {
		if truth.Feed == feed.Threats && len(ids) < n {
			ids = append(ids, truth.Key[len("id:"):])
		}
	}
	if len(ids) < n {
		t.Fatalf("the simulator names %d threats; the test needs %d", len(ids), n)
	}
	return ids
}

// order makes a job for ids.
func (b *bench) order(call feed.Call, lane taplinev1.Lane, pass uint32, ids ...string) *taplinev1.Job {
	j := &taplinev1.Job{
		Tenant: "main", Call: string(call), Feeds: []string{string(call.Feed())}, Window: b.window.Proto(), Lane: lane, Pass: pass, PlannedAt: timestamppb.Now(),
	}
	for _, id := range ids {
		j.Targets = append(j.Targets, &taplinev1.Target{Id: id, Status: "active"})
	}
	id, err := job.Of(j)
	if err != nil {
		panic(err)
	}
	j.Id = id.String()
	return j
}

// stored reads the records of a job in RAW.
func (b *bench) stored(t *testing.T, r *taplinev1.JobRecord) (records []batch.Record) {
	t.Helper()
	for i := range uint64(r.GetBatches()) {
		m, err := b.bus.Message(t.Context(), bus.StreamRaw, r.GetMarkerSequence()-uint64(r.GetBatches())+i)
		if err != nil {
			t.Fatal(err)
		}
		var raw batch.Raw
		if err := batch.DecodeRaw(m.Data, &raw); err != nil {
			t.Fatal(err)
		}
		records = append(records, raw.Records...)
	}
	return records
}

func (b *bench) deadLetters(t *testing.T) (all []*taplinev1.DeadLetter) {
	t.Helper()
	err := b.bus.Scan(t.Context(), bus.Dead("main", "fetcher"), func(m bus.Stored) (bool, error) {
		letter := &taplinev1.DeadLetter{}
		all = append(all, letter)
		return true, proto.Unmarshal(m.Data, letter)
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var quick = []string{"EXPAND_RATE=1000", "EXPAND_RETRY_DELAY=1ms", "EXPAND_ATTEMPTS=3"}

// TestOneBadIDSpoilsNoOther: of three ids one is unknown to Proofpoint. The others are stored at
// once, and the bad one goes to DEAD after as many attempts as configured.
func TestOneBadIDSpoilsNoOther(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	ids := b.threats(t, 2)
	bad := "00000000000000000000000000000000000000000000000000000000000000ff"
	order := b.order(feed.CallThreat, taplinev1.Lane_LANE_EXPAND, 7, ids[0], bad, ids[1])
	b.plan(t, order)
	b.start(t, quick...)
	r := b.record(t, order)
	if f := r.GetFeeds()[0]; f.GetReceived() != 2 || f.GetPublished() != 2 || f.GetDeferred() != 1 || f.GetDead() != 0 {
		t.Errorf("the account of the job: %v", f)
	}
	var have []string
	for _, record := range b.stored(t, r) {
		have = append(have, identity.Text(record.JSON, "id"))
	}
	slices.Sort(have) // they are packed as they come
	slices.Sort(ids)
	if !slices.Equal(have, ids) {
		t.Errorf("RAW has %q, want %q", have, ids)
	}
	retry := proto.CloneOf(order)
	retry.Lane, retry.Targets = taplinev1.Lane_LANE_RETRY, order.GetTargets()[1:2]
	id, err := job.Of(retry)
	if err != nil {
		t.Fatal(err)
	}
	retry.Id = id.String()
	if f := b.record(t, retry).GetFeeds()[0]; f.GetReceived() != 1 || f.GetDead() != 1 {
		t.Errorf("the account of the bad id: %v", f)
	}
	letters := b.deadLetters(t)
	if len(letters) != 1 || string(letters[0].GetPayload()) != bad || letters[0].GetAttempts() != 3 || letters[0].GetRetry() == nil {
		t.Errorf("DEAD has %v", letters)
	}
	if calls := b.sim.Status().Requests["/v2/threat/summary/"][http.StatusNotFound]; calls < 3 || calls > 5 { // and the check of the credential
		t.Errorf("%d calls for an unknown id", calls)
	}
}

// TestAnOutageKillsNoID: while Proofpoint answers nothing, ids wait; none goes to DEAD.
func TestAnOutageKillsNoID(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	ids := b.threats(t, 3)
	if err := b.sim.Inject(tapsim.Fault{Kind: tapsim.FaultStatus, Status: 503, Count: 9}); err != nil {
		t.Fatal(err)
	}
	order := b.order(feed.CallThreat, taplinev1.Lane_LANE_EXPAND, 7, ids...)
	b.plan(t, order)
	b.start(t, quick...)
	if f := b.record(t, order).GetFeeds()[0]; f.GetPublished()+f.GetDeferred() != 3 || f.GetDead() != 0 {
		t.Errorf("the account of the job: %v", f)
	}
	if letters := b.deadLetters(t); len(letters) > 0 {
		t.Errorf("DEAD has %v", letters)
	}
}

// TestUnchangedAnswersArePublishedOnce: asked again after the refresh period, a threat that has not
// changed makes no record, and within it no call.
func TestUnchangedAnswersArePublishedOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	id := b.threats(t, 1)[0]
	b.start(t, append(quick, "EXPAND_REFRESH=1m")...)
	first := b.order(feed.CallThreat, taplinev1.Lane_LANE_EXPAND, 1, id)
	b.plan(t, first)
	if f := b.record(t, first).GetFeeds()[0]; f.GetPublished() != 1 {
		t.Fatalf("the first time: %v", f)
	}
	again := b.order(feed.CallThreat, taplinev1.Lane_LANE_EXPAND, 2, id)
	b.plan(t, again)
	if f := b.record(t, again).GetFeeds()[0]; f.GetReceived() != 0 || f.GetKnown() != 1 {
		t.Errorf("within the refresh period: %v", f)
	}
	linked := b.order(feed.CallThreat, taplinev1.Lane_LANE_EXPAND, 3, id)
	linked.Targets[0].Campaign = tapsim.RevisedCampaign
	b.plan(t, linked)
	r := b.record(t, linked)
	if f := r.GetFeeds()[0]; f.GetPublished() != 1 || f.GetRevision() != 1 {
		t.Errorf("linked to a campaign: %v", f)
	}
	bucket, err := b.bus.Bucket(t.Context(), bus.BucketKnown)
	if err != nil {
		t.Fatal(err)
	}
	memory := known.Open(bucket, "main", known.Config{Refresh: time.Hour}, b.sim.Now)
	poll(t, func() bool { // written after the record
		verdict, err := memory.Covers(t.Context(), feed.CallThreat, &taplinev1.Target{Id: id, Status: "active", Campaign: tapsim.RevisedCampaign})
		return err == nil && verdict == known.Covered
	})
	later := known.Open(bucket, "main", known.Config{Refresh: time.Nanosecond}, b.sim.Now)
	if verdict, err := later.Covers(t.Context(), feed.CallThreat, &taplinev1.Target{Id: id}); err != nil || verdict != known.Changed {
		t.Errorf("after the refresh period: %v, %v", verdict, err)
	}
}

// TestForensicsAreAskedByImportance: with ten calls and four reports of each level waiting, the
// two most important levels are served, and what is kept back for them stays.
func TestForensicsAreAskedByImportance(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *tapsim.Config) { c.Rate, c.LimitForensicsThreat = 1, 10 })
	ids := b.threats(t, 16)
	levels := []taplinev1.Lane{
		taplinev1.Lane_LANE_FORENSICS_1, taplinev1.Lane_LANE_FORENSICS_2, taplinev1.Lane_LANE_FORENSICS_3, taplinev1.Lane_LANE_FORENSICS_4,
	}
	jobs := make([][]*taplinev1.Job, len(levels))
	for i := len(levels) - 1; i >= 0; i-- { // the least important first
		for _, id := range ids[4*i : 4*i+4] {
			j := b.order(feed.CallThreatForensics, levels[i], 1, id)
			b.plan(t, j)
			jobs[i] = append(jobs[i], j)
		}
	}
	if err := b.bus.PublishJob(t.Context(), jobs[3][0]); !errors.Is(err, bus.ErrOutstanding) {
		t.Errorf("the same report twice in a queue: %v", err)
	}
	b.start(t, append(quick, "QUOTA_FORENSICS_THREAT=10")...)
	last := time.Time{}
	for _, level := range jobs[:2] {
		newest := last
		for _, j := range level {
			at := b.record(t, j).GetFetchedAt().AsTime()
			if at.Before(last) {
				t.Errorf("%s was asked before something more important", j.GetId())
			}
			if at.After(newest) {
				newest = at
			}
		}
		last = newest
	}
	if q := b.sim.Status().Quota[feed.PoolForensicsThreat]; q.Used != 8 || q.Refused != 0 {
		t.Errorf("calls: %+v", q)
	}
	for _, consumer := range bus.ForensicsConsumers(feed.CallThreatForensics)[2:] {
		if backlog, err := b.bus.Backlog(t.Context(), consumer); err != nil || backlog.Waiting != 4 {
			t.Errorf("%s: %+v, %v", consumer.Name, backlog, err)
		}
	}
}

// TestListOfPeopleIsReadPageByPage: the pages of a list are stored with what stands around them,
// and a second reading of the snapshot publishes only people that changed.
func TestListOfPeopleIsReadPageByPage(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *tapsim.Config) { c.People = 250 })
	b.start(t, quick...)
	page := func(pass uint32, again bool) *taplinev1.JobRecord {
		j := b.order(feed.CallTopClickers, taplinev1.Lane_LANE_LIST, pass, "14")
		if again { // another moment of the same snapshot
			j.Window.End = timestamppb.New(j.GetWindow().GetEnd().AsTime().Add(time.Minute))
			id, err := job.Of(j)
			if err != nil {
				t.Fatal(err)
			}
			j.Id = id.String()
		}
		b.plan(t, j)
		return b.record(t, j)
	}
	first, second, third := page(1, false), page(2, false), page(3, false)
	for i, want := range []int64{200, 50, 0} {
		r := []*taplinev1.JobRecord{first, second, third}[i]
		if f := r.GetFeeds()[0]; f.GetReceived() != want || f.GetPublished() != want || r.GetTotal() != 250 {
			t.Errorf("page %d: %v", i+1, r)
		}
	}
	m, err := b.bus.Message(t.Context(), bus.StreamRaw, first.GetMarkerSequence()-1)
	if err != nil {
		t.Fatal(err)
	}
	var raw batch.Raw
	if err := batch.DecodeRaw(m.Data, &raw); err != nil || identity.Text(raw.Envelope, "totalTopClickers") != "250" {
		t.Errorf("the envelope is %s, %v", raw.Envelope, err)
	}
	if f := page(1, true).GetFeeds()[0]; f.GetReceived() != 200 || f.GetDuplicate() < 150 {
		t.Errorf("the same page again: %v", f)
	}
}

// TestOneCallForOneID: records of one batch may differ in what they say of a threat; it is asked
// for once, and the row says the campaign.
func TestOneCallForOneID(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	id := b.threats(t, 1)[0]
	order := b.order(feed.CallThreat, taplinev1.Lane_LANE_EXPAND, 7, id, id, id)
	order.Targets[1].Campaign, order.Targets[2].Status = tapsim.RevisedCampaign, "cleared"
	b.plan(t, order)
	b.start(t, quick...)
	r := b.record(t, order)
	if f := r.GetFeeds()[0]; f.GetReceived() != 1 || f.GetPublished() != 1 {
		t.Errorf("the account: %v", f)
	}
	target := &taplinev1.Target{}
	if err := proto.Unmarshal(b.stored(t, r)[0].Target, target); err != nil || target.GetCampaign() != tapsim.RevisedCampaign {
		t.Errorf("asked about %v, %v", target, err)
	}
	memory, err := b.bus.Bucket(t.Context(), bus.BucketKnown)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := memory.Get(t.Context(), known.Key("main", feed.CallThreat, id)); err != nil || e.Revision != 2 {
		t.Errorf("KNOWN was written %d times, %v; want once for the claim and once for the answer", e.Revision, err)
	}
	again := b.order(feed.CallThreat, taplinev1.Lane_LANE_EXPAND, 8, id, id, id)
	again.Targets = order.GetTargets()
	b.plan(t, again)
	if f := b.record(t, again).GetFeeds()[0]; f.GetKnown() != 1 || f.GetReceived() != 0 {
		t.Errorf("again: %v", f)
	}
}

// TestWhatWaitsIsMeasured in each lane, also what no scheduler has planned.
func TestWhatWaitsIsMeasured(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil, bus.Seed{Bucket: bus.BucketQuota, Key: "other.siem"}) // no call can be made
	for i, id := range b.threats(t, 3) {
		b.plan(t, b.order(feed.CallThreat, taplinev1.Lane_LANE_EXPAND, uint32(i), id))
	}
	b.plan(t, b.job(b.window, 0))
	b.start(t)
	poll(t, func() bool {
		return maps.Equal(b.waiting(t), map[string]float64{"live": 0, "sweep": 0, "backfill": 1, "aside": 0, "list": 0, "expand": 3, "retry": 0})
	})
}

func (b *bench) waiting(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := b.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	lanes := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "tapline_fetcher_jobs_waiting" {
				lanes[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	return lanes
}

// TestAnIDThatCannotBeAskedForHasOneLetter, whatever jobs name it, for the threat and for its
// forensics.
func TestAnIDThatCannotBeAskedForHasOneLetter(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.start(t, quick...)
	for pass, call := range []feed.Call{feed.CallThreat, feed.CallThreat, feed.CallThreatForensics, feed.CallThreat} {
		order := b.order(call, taplinev1.Lane_LANE_EXPAND, uint32(pass+1), "a b", "c/d")
		b.plan(t, order)
		f := b.record(t, order).GetFeeds()[0]
		if first := pass == 0; f.GetDead() != map[bool]int64{true: 2}[first] || f.GetKnown() != map[bool]int64{false: 2}[first] {
			t.Errorf("pass %d: %v", pass, f)
		}
		bucket, err := b.bus.Bucket(t.Context(), bus.BucketKnown)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"a b", "c/d"} {
			poll(t, func() bool {
				told, err := known.Open(bucket, "main", known.Config{}, b.sim.Now).DeadLettered(t.Context(), call, id)
				return err == nil && told
			})
		}
	}
	letters := b.deadLetters(t)
	if len(letters) != 2 {
		t.Fatalf("DEAD has %v", letters)
	}
	for _, l := range letters {
		if !strings.Contains(l.GetReason(), fmt.Sprintf("%q cannot be asked for", l.GetPayload())) || l.GetRetry() != nil {
			t.Errorf("letter %v", l)
		}
	}
}
