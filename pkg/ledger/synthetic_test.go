package ledger_test

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

func encode(page *taplinev1.LedgerPage) ([]byte, error) { return proto.Marshal(page) }

// syntheticHour is the account of one hour: 60 live windows that bring a batch of each
// feed, and three sweeps that bring nothing.
func syntheticHour(start time.Time, sequence *uint64) map[ledger.Part]*taplinev1.LedgerPage {
	read, made, sent, plan := &taplinev1.LedgerPage{}, &taplinev1.LedgerPage{}, &taplinev1.LedgerPage{}, &taplinev1.LedgerPage{}
	note := func(lane taplinev1.Lane, pass uint32, w window.Window, published int64) {
		r := &taplinev1.JobRecord{
			JobId: job.ID{Tenant: "main", Set: feed.SIEM(), Window: w, Lane: lane, Pass: pass}.String(), State: fetched, Attempts: 1, Status: 200,
			Bytes: 2_000_000, FetchedAt: timestamppb.New(w.End.Add(7 * time.Second)),
		}
		for _, f := range feed.SIEM() {
			r.Feeds = append(r.Feeds, &taplinev1.FeedResult{
				Feed: string(f), Received: 2000, Duplicate: 2000 - published, Published: published, FirstHash: 1 << 63, LastHash: 1 << 62,
			})
			if published == 0 {
				continue
			}
			*sequence++
			r.Batches++
			b := &taplinev1.BatchRecord{
				RawSequence: *sequence, Feed: string(f), Table: f.Table(), Events: published, EventSequence: *sequence, AtMs: w.End.UnixMilli(),
			}
			made.Made, sent.Sent = append(made.Made, b), append(sent.Sent, b)
		}
		*sequence++
		r.MarkerSequence = *sequence
		read.Windows = append(read.Windows, r)
	}
	for m := range 60 {
		at := start.Add(time.Duration(m) * time.Minute)
		note(taplinev1.Lane_LANE_LIVE, 0, window.New(at, at.Add(time.Minute)), 400)
	}
	whole := window.New(start, start.Add(time.Hour))
	for _, pass := range []uint32{35, 360, 1440} {
		note(taplinev1.Lane_LANE_SWEEP, pass, whole, 0)
	}
	plan.Ranges = append(plan.Ranges, &taplinev1.RangeRecord{
		Window: whole.Proto(), State: taplinev1.WindowState_WINDOW_STATE_SEALED, Feeds: feed.Names(feed.SIEM()), Reason: "the last sweep found nothing", At: timestamppb.New(start),
	})
	return map[ledger.Part]*taplinev1.LedgerPage{
		ledger.PartRead: read, ledger.PartMade: made, ledger.PartSent: sent, ledger.PartPlan: plan,
	}
}
