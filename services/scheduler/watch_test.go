package scheduler_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// gauges are the sums of a scheduler's metrics over their labels.
func gauges(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			sums[strings.TrimPrefix(f.GetName(), "tapline_")] += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return sums
}

// backfillOf is a job that reads an hour which ended so long ago.
func backfillOf(t *testing.T, tenant string, age time.Duration) *taplinev1.Job {
	t.Helper()
	end := epoch.Add(-age).Truncate(time.Minute)
	j := &taplinev1.Job{
		Tenant: tenant, Feeds: feed.Names(feed.SIEM()), Window: window.New(end.Add(-time.Hour), end).Proto(), Lane: taplinev1.Lane_LANE_BACKFILL, PlannedAt: timestamppb.New(epoch),
	}
	id, err := job.Of(j)
	if err != nil {
		t.Fatal(err)
	}
	j.Id = id.String()
	return j
}

// TestWhatIsWatched: a plan, a pool and a ledger at and beyond the limit of each alarm, and what
// the metrics say of them.
func TestWhatIsWatched(t *testing.T) {
	t.Parallel()
	server := bustest.Server(t)
	setup := bustest.Connect(t, server)
	if err := setup.Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	type world struct {
		t      *testing.T
		b      *bus.Bus
		tenant string
		state  *taplinev1.PlanState
	}
	began := func(w *world, age time.Duration) {
		w.state.BackfillNext, w.state.BackfillEnd = timestamppb.New(epoch.Add(-age)), timestamppb.New(epoch.Add(-age))
	}
	unread := func(w *world, age time.Duration) {
		w.state.Outstanding = append(w.state.Outstanding, backfillOf(w.t, w.tenant, age))
	}
	for tenant, c := range map[string]struct {
		prepare func(w *world)
		alarm   alarm.Name
		want    string // in the alarm; empty for none
		gauges  map[string]float64
	}{
		"healthy": {func(*world) {}, "", "", map[string]float64{
			"scheduler_head_lag_seconds": 10, "scheduler_cadence_seconds": 60, "scheduler_edge_seconds": window.Lookback.Seconds(), "scheduler_windows_unproven": 0,
			"ledger_violations": 0, "ledger_pending_records": 0, "scheduler_jobs_outstanding": 0, "scheduler_backfill_remaining_seconds": 0,
		}},
		"skew-at":     {func(w *world) { w.state.SkewMs = 30_000 }, alarm.ClockSkew, "", nil},
		"skew-ahead":  {func(w *world) { w.state.SkewMs = 30_001 }, alarm.ClockSkew, "30.001s ahead", nil},
		"skew-behind": {func(w *world) { w.state.SkewMs = -30_001 }, alarm.ClockSkew, "-30.001s ahead", nil},
		"fresh-at":    {func(w *world) { began(w, 10*time.Minute) }, alarm.Freshness, "", map[string]float64{"freshness_seconds": 4 * 600}},
		"fresh-over":  {func(w *world) { began(w, 10*time.Minute+time.Second) }, alarm.Freshness, "confirmed only up to 10m1s ago", map[string]float64{"freshness_seconds": 4 * 601}},
		"edge-far":    {func(w *world) { began(w, time.Hour); unread(w, 142*time.Hour+59*time.Minute) }, alarm.Edge, "", nil},
		"edge-near": {func(w *world) { began(w, time.Hour); unread(w, 143*time.Hour+time.Minute) }, alarm.Edge, "served for another 23h59m", map[string]float64{
			"scheduler_jobs_outstanding": 1,
		}},
		"edge-first": {func(w *world) { began(w, 10*time.Minute); unread(w, 144*time.Hour) }, alarm.Edge, "", nil},
		"others": {func(w *world) {
			units, err := w.b.Bucket(w.t.Context(), bus.BucketQuota)
			if err != nil {
				w.t.Fatal(err)
			}
			q := quota.NewLimiter(units, w.tenant, quota.Config{SIEM: 1800, SIEMPermitted: 1, CampaignIDs: 1, VAP: 1, TopClickers: 1, ForensicsThreat: 1, ForensicsCampaign: 1, Margin: 2 * time.Minute}, still)
			if _, err := q.Refused(w.t.Context(), feed.PoolSIEM, time.Hour); err != nil {
				w.t.Fatal(err)
			}
		}, alarm.Quota, "others made at least 1800 of 1800 calls", map[string]float64{"quota_external_calls": 1800}},
		"wrong": {func(w *world) {
			pages, err := w.b.Bucket(w.t.Context(), bus.BucketLedger)
			if err != nil {
				w.t.Fatal(err)
			}
			r := &taplinev1.JobRecord{
				JobId: backfillOf(w.t, w.tenant, time.Hour).GetId(), State: taplinev1.WindowState_WINDOW_STATE_FETCHED, FetchedAt: timestamppb.New(epoch), Batches: 1, MarkerSequence: 9,
				Feeds: []*taplinev1.FeedResult{{Feed: "clicksBlocked", Received: 3, Published: 2}},
			}
			if err := ledger.New(pages).RecordJob(w.t.Context(), r); err != nil {
				w.t.Fatal(err)
			}
		}, alarm.Ledger, "received 3 is not", nil},
		"waits": {func(w *world) {
			began(w, time.Hour)
			unread(w, 4*time.Hour)
			w.state.LagMs, w.state.LagAt = 7000, timestamppb.New(epoch)
			w.state.Asides = []*taplinev1.Aside{{Job: backfillOf(w.t, w.tenant, 8*time.Hour), Failures: 3, Since: timestamppb.New(epoch), RetryAt: timestamppb.New(epoch.Add(time.Hour)), Reason: "odd words"}}
			span := window.New(epoch.Add(-5*time.Hour).Truncate(time.Minute), epoch.Add(-3*time.Hour).Truncate(time.Minute))
			w.state.Backlogs = []*taplinev1.Backlog{{Window: span.Proto(), Feeds: feed.Names(feed.SIEM()), Reason: "waits"}}
		}, alarm.Answer, "1 windows are not proven read", map[string]float64{
			"scheduler_windows_unproven": 1, "scheduler_learned_lag_seconds": 7, "scheduler_jobs_outstanding": 1, "scheduler_backfill_remaining_seconds": 7200,
		}},
	} {
		t.Run(tenant, func(t *testing.T) {
			t.Parallel()
			b := bustest.Connect(t, server)
			for _, seed := range quota.Seeds(tenant) { // setup seeds only a bucket that is new
				if err := bucket(t, b, seed.Bucket).Put(t.Context(), seed.Key, seed.Value); err != nil {
					t.Fatal(err)
				}
			}
			head := timestamppb.New(epoch.Add(-10 * time.Second))
			w := &world{t, b, tenant, &taplinev1.PlanState{
				LiveHead: head, BackfillNext: head, BackfillEnd: head, Start: timestamppb.New(epoch.AddDate(0, 0, -20)), StartTime: "7d", FirstRead: timestamppb.New(epoch.AddDate(0, 0, -13)), Generation: 1,
			}}
			c.prepare(w)
			data, err := proto.Marshal(w.state)
			if err != nil {
				t.Fatal(err)
			}
			state := bucket(t, b, bus.BucketState)
			if err := state.Put(t.Context(), plan.Key(tenant, feed.SIEMAll.Feeds), data); err != nil {
				t.Fatal(err)
			}
			r := prometheus.NewRegistry()
			now, wait := counted(epoch)
			measured(t, b, r, now, "TENANT="+tenant, "TAP_START_TIME=7d", "TAP_FEEDS=clicksBlocked,clicksPermitted,messagesBlocked,messagesDelivered", "TAP_SWEEPS=", "SCHEDULER_TICK=50ms")
			raised := func() (all string, one string) {
				alarms, err := alarm.Read(t.Context(), state, tenant, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				for _, a := range alarms {
					all += a.GetName() + ": " + a.GetDetail() + "\n"
					if a.GetName() == string(c.alarm) {
						one = a.GetDetail()
					}
				}
				return all, one
			}
			wait(t)
			poll(t, func() bool { _, one := raised(); return strings.Contains(one, c.want) })
			all, one := raised()
			if (one != "") != (c.want != "") || c.alarm == "" && all != "" {
				t.Errorf("raised: %s", all)
			}
			sums := gauges(t, r)
			for name, want := range c.gauges {
				if sums[name] != want {
					t.Errorf("%s is %v, want %v", name, sums[name], want)
				}
			}
		})
	}
}
