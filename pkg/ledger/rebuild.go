package ledger

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// source is what the ledger is derived from.
type source interface {
	Scan(ctx context.Context, s bus.Selection, visit func(bus.Stored) (bool, error)) error
	Backlog(ctx context.Context, c bus.Consumer) (bus.Backlog, error)
}

// Rebuilt says how much [Rebuild] found.
type Rebuilt struct {
	Jobs      int `json:"jobs"`
	Made      int `json:"made"`      // batches that became rows
	Confirmed int `json:"confirmed"` // of those, batches the sink has confirmed
	Unknown   int `json:"unknown"`   // batches, markers and letters of no job that is known
}

// Rebuild derives the parts of fetcher, enricher and shipper from the streams, which
// keep eight days, and writes them over what the ledger has; what it does not
// find there it leaves alone. It may run at any time and any number of times. Rows that the sink
// confirmed out of turn, while older ones still wait, count as confirmed
// only when the older ones are, too: run it again then.
func (l *Ledger) Rebuild(ctx context.Context, src source, tenant string) (Rebuilt, error) {
	r := &rebuild{src: src, tenant: tenant, pages: make(map[string]*taplinev1.LedgerPage), dead: make(map[string]map[string]int64), made: make(map[uint64]*taplinev1.BatchRecord)}
	for _, step := range []func(context.Context) error{r.markers, r.deadLetters, r.rows, r.deadBatches} {
		if err := step(ctx); err != nil {
			return Rebuilt{}, fmt.Errorf("rebuild the ledger: %w", err)
		}
	}
	for key, found := range r.pages {
		err := l.writer.write(ctx, key, func(p *taplinev1.LedgerPage) {
			p.Damaged = false
			for _, w := range found.GetWindows() {
				putJob(p, w)
			}
			for _, b := range found.GetMade() {
				p.Made = putBatch(p.GetMade(), b)
			}
			for _, b := range found.GetSent() {
				putSent(p, Delivery{Batch: b})
			}
			for _, b := range found.GetRemade() {
				p.Remade = putAgain(p.GetRemade(), b)
			}
			for _, b := range found.GetResent() {
				p.Resent = putAgain(p.GetResent(), b)
			}
		})
		if err != nil {
			return Rebuilt{}, err
		}
	}
	return r.result, nil
}

type rebuild struct {
	src    source
	tenant string
	pages  map[string]*taplinev1.LedgerPage
	spans  []span
	dead   map[string]map[string]int64 // letters by source ("RAW/17") and feed
	made   map[uint64]*taplinev1.BatchRecord
	result Rebuilt
}

// span is where a job's batches lie in RAW.
type span struct {
	first, marker uint64
	id            job.ID
}

func (r *rebuild) page(part Part, id job.ID) *taplinev1.LedgerPage {
	key := Key(part, r.tenant, id.Window.Start)
	if r.pages[key] == nil {
		r.pages[key] = &taplinev1.LedgerPage{}
	}
	return r.pages[key]
}

func (r *rebuild) markers(ctx context.Context) error {
	return r.src.Scan(ctx, bus.Markers(r.tenant), func(m bus.Stored) (bool, error) {
		result := &taplinev1.JobResult{}
		err := wire.Unmarshal(m.Data, result)
		id, bad := job.Parse(result.GetJobId())
		if err != nil || bad != nil { // a marker of no job accounts for nothing
			r.result.Unknown++
			return true, nil //nolint:nilerr // counted
		}
		page := r.page(PartRead, id)
		page.Windows = append(page.Windows, Fetched(result, m.Sequence))
		r.spans = append(r.spans, span{m.Sequence - uint64(result.GetBatches()), m.Sequence, id})
		r.result.Jobs++
		r.silent(id, result, m.Sequence)
		return true, nil
	})
}

// silent enters the batches that make no rows: lists of campaigns. They leave nothing in EVENTS.
func (r *rebuild) silent(id job.ID, result *taplinev1.JobResult, marker uint64) {
	if id.Call != feed.CallCampaignIDs {
		return
	}
	page := r.page(PartMade, id)
	for i := range uint64(result.GetBatches()) {
		made := &taplinev1.BatchRecord{
			RawSequence: marker - uint64(result.GetBatches()) + i, Feed: string(feed.Campaigns), Table: feed.Campaigns.Table(), AtMs: result.GetFetchedAt().AsTime().UnixMilli(),
		}
		if i == 0 {
			for _, f := range result.GetFeeds()[:min(1, len(result.GetFeeds()))] {
				made.Extra = -f.GetPublished()
			}
		}
		page.Made = putBatch(page.GetMade(), made)
	}
}

// Fetched is the entry of a job whose marker is stored.
func Fetched(result *taplinev1.JobResult, marker uint64) *taplinev1.JobRecord {
	return &taplinev1.JobRecord{
		JobId: result.GetJobId(), State: taplinev1.WindowState_WINDOW_STATE_FETCHED, Status: result.GetStatus(), Bytes: result.GetBytes(),
		FetchedAt: result.GetFetchedAt(), MarkerSequence: marker, Batches: result.GetBatches(), Feeds: result.GetFeeds(), Total: result.GetTotal(),
		SkewMs: result.GetSkewMs(), ReadAt: result.GetReadAt(), ReadEnd: result.GetReadEnd(), LagMs: result.GetLagMs(),
	}
}

// deadLetters counts what enricher and shipper could not process.
func (r *rebuild) deadLetters(ctx context.Context) error {
	for _, stage := range []string{"enricher", "shipper"} {
		err := r.src.Scan(ctx, bus.Dead(r.tenant, stage), func(m bus.Stored) (bool, error) {
			letter := &taplinev1.DeadLetter{}
			if err := wire.Unmarshal(m.Data, letter); err != nil {
				r.result.Unknown++
				return true, nil //nolint:nilerr // counted
			}
			if letter.GetPart() > 1 { // a piece of the one before
				return true, nil
			}
			byFeed := r.dead[letter.GetSource()]
			if byFeed == nil {
				byFeed = make(map[string]int64)
				r.dead[letter.GetSource()] = byFeed
			}
			byFeed[letter.GetFeed()]++
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// rows finds what was made and, by what the shipper has acknowledged, what was confirmed.
func (r *rebuild) rows(ctx context.Context) error {
	backlog, err := r.src.Backlog(ctx, bus.ConsumerShipper)
	if err != nil {
		return err
	}
	var events batch.Events
	return r.src.Scan(ctx, bus.Events(r.tenant), func(m bus.Stored) (bool, error) {
		if err := batch.DecodeEvents(m.Data, &events); err != nil {
			return true, nil //nolint:nilerr // the shipper dead-letters it
		}
		id, err := job.Parse(events.JobID)
		if err != nil {
			r.result.Unknown++
			return true, nil //nolint:nilerr // counted
		}
		made := &taplinev1.BatchRecord{
			RawSequence: events.SourceSequence, Feed: events.Feed, Table: events.Table, Events: int64(len(events.Events)),
			Dead: r.dead[fmt.Sprintf("%s/%d", bus.StreamRaw, events.SourceSequence)][events.Feed], EventSequence: m.Sequence, AtMs: m.Time.UnixMilli(),
			Part: events.Part, Extra: events.Extra,
		}
		if events.ReprocessID != "" {
			r.repeated(id, &events, made, m.Sequence <= backlog.Done)
			return true, nil
		}
		if events.Part > 0 || events.Table != feed.Feed(events.Feed).Table() { // what went to DEAD stands with the first
			made.Dead = 0
		}
		page := r.page(PartMade, id)
		page.Made = putBatch(page.GetMade(), made)
		r.made[events.SourceSequence] = made
		r.result.Made++
		if m.Sequence > backlog.Done {
			return true, nil
		}
		sent := proto.CloneOf(made)
		sent.Dead = r.dead[fmt.Sprintf("%s/%d", bus.StreamEvents, m.Sequence)][events.Feed]
		sent.Events = made.GetEvents() - sent.GetDead()
		page = r.page(PartSent, id)
		page.Sent = putBatch(page.GetSent(), sent)
		r.result.Confirmed++
		return true, nil
	})
}

// repeated records rows that were reprocessed.
func (r *rebuild) repeated(id job.ID, e *batch.Events, made *taplinev1.BatchRecord, confirmed bool) {
	made.Dead, made.ReplayId, made.Remade = 0, e.ReprocessID, true
	page := r.page(PartMade, id)
	page.Remade = putAgain(page.GetRemade(), made)
	if confirmed {
		sent := proto.CloneOf(made)
		sent.Dead = r.dead[fmt.Sprintf("%s/%d", bus.StreamEvents, made.GetEventSequence())][e.Feed]
		sent.Events = made.GetEvents() - sent.GetDead()
		page = r.page(PartSent, id)
		page.Resent = putAgain(page.GetResent(), sent)
	}
}

// deadBatches finds batches of which no row could be made.
func (r *rebuild) deadBatches(context.Context) error {
	for source, byFeed := range r.dead {
		number, ok := strings.CutPrefix(source, bus.StreamRaw+"/")
		sequence, err := strconv.ParseUint(number, 10, 64)
		if !ok || err != nil || r.made[sequence] != nil {
			continue
		}
		for _, s := range r.spans {
			if sequence < s.first || sequence >= s.marker {
				continue
			}
			for name, n := range byFeed {
				page := r.page(PartMade, s.id)
				page.Made = putBatch(page.GetMade(), &taplinev1.BatchRecord{
					RawSequence: sequence, Feed: name, Table: feed.Feed(name).Table(), Dead: n,
				})
			}
		}
	}
	return nil
}
