package enricher

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/known"
	"github.com/tapline/tapline/pkg/step"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/enricher/internal/names"
)

// expander orders what records name: threats, campaigns and, if wanted, their forensics.
type expander struct {
	*Enricher
	known  *known.Memory
	recent *recent
	locks  *keyedLock
	vaps   *vaps
}

func newExpander(e *Enricher, answers *bus.Bucket) *expander {
	return &expander{e, known.Open(answers, e.cfg.Tenant.Name, e.cfg.Known, e.now), newRecent(), newKeyedLock(), &vaps{store: answers, tenant: e.cfg.Tenant.Name, now: e.now}}
}

// lookup is one thing to ask Proofpoint for.
type lookup struct {
	call   feed.Call
	target *taplinev1.Target
	level  int  // of forensics: 1 is the most important
	link   bool // only if it is known and this is news: what names it did not see it
}

// Bounds of what one batch names. Each lookup takes memory and a look at KNOWN, and those of one
// call are one job, which has to fit into a message. A key is longer than its target in the job.
const (
	maxLookups = 32_768
	maxKeys    = 7 << 20 // bytes
)

// key distinguishes lookups that have different answers. It is kept for a while, so it is never
// long.
func (w *lookup) key() string {
	id := w.target.GetId()
	if !feed.Askable(id) {
		id = fmt.Sprintf("=%016x", identity.Named(id))
	}
	return strings.Join([]string{
		string(w.call), id, w.target.GetStatus(), w.target.GetCampaign(), w.target.GetUpdated().AsTime().Format(time.RFC3339),
	}, "|")
}

// handle orders what one batch names, then records it.
func (x *expander) handle(ctx context.Context, d *bus.Delivery) error {
	var raw batch.Raw
	if err := batch.DecodeRaw(d.Data(), &raw); err != nil {
		return bus.Permanent(err)
	}
	if raw.Tenant != x.cfg.Tenant.Name {
		return bus.Permanent(fmt.Errorf("%w %q: this enricher serves %q", errUnknownTenant, raw.Tenant, x.cfg.Tenant.Name))
	}
	id, err := job.Parse(raw.JobID)
	ofJob := err == nil
	lookups, err := x.lookups(ctx, d, id, &raw)
	if err != nil {
		return err
	}
	if len(lookups) == 0 {
		return nil
	}
	taken, err := x.lock(ctx, lookups)
	defer x.locks.unlock(taken)
	if err != nil {
		return err
	}
	want := &taplinev1.LookupRecord{RawSequence: d.Sequence(), Named: uint32(len(lookups))}
	letters, err := x.order(ctx, d, &raw, lookups, want)
	if err != nil {
		return err
	}
	if ofJob {
		if err := x.ledger.RecordLookups(ctx, raw.JobID, want); err != nil {
			return err
		}
	}
	if err := x.remember(ctx, lookups, letters); err != nil {
		return err
	}
	x.metrics.lookups.WithLabelValues("known").Add(float64(want.GetKnown()))
	x.metrics.lookups.WithLabelValues("ordered").Add(float64(want.GetOrdered()))
	x.metrics.lookups.WithLabelValues("dead").Add(float64(want.GetDead()))
	x.metrics.amended.Add(float64(want.GetAmended()))
	return nil
}

// remember records what was ordered, and whose dead letters were stored. It comes last: a
// repetition would find all of it known, and its account would say that it ordered nothing.
func (x *expander) remember(ctx context.Context, lookups map[string]*lookup, letters map[string]*lookup) error {
	for _, w := range letters {
		if err := x.known.RecordDeadLetter(ctx, w.call, w.target.GetId()); err != nil {
			return err
		}
	}
	for key, w := range lookups {
		if !w.link {
			x.recent.add(key, x.now())
		}
	}
	return nil
}

// lock waits until no other batch orders what this one may have to order. Give back what it took,
// also after an error.
func (x *expander) lock(ctx context.Context, lookups map[string]*lookup) (taken []string, err error) {
	for _, key := range slices.Sorted(maps.Keys(lookups)) {
		if x.recent.has(key, x.now()) {
			continue
		}
		if err := x.locks.lock(ctx, key); err != nil {
			return taken, err
		}
		taken = append(taken, key)
	}
	return taken, nil
}

// order publishes the jobs of the lookups that are not known, and counts. It returns those for
// which it stored dead letters.
func (x *expander) order(
	ctx context.Context, d *bus.Delivery, raw *batch.Raw, lookups map[string]*lookup, want *taplinev1.LookupRecord,
) (letters map[string]*lookup, err error) {
	letters = make(map[string]*lookup)
	jobs := make(map[feed.Call][]*taplinev1.Target)
	for _, key := range slices.Sorted(maps.Keys(lookups)) { // a repetition makes the same jobs
		w := lookups[key]
		if !feed.Askable(w.target.GetId()) {
			if err := x.unaskable(ctx, d, key, w, letters); err != nil {
				return nil, err
			}
			continue
		}
		verdict, err := x.verdict(ctx, key, w)
		switch {
		case err != nil:
			return nil, err
		case verdict == known.Covered:
			continue
		case verdict == known.Linked:
			want.Amended++
		}
		want.Ordered++
		if !w.call.IsForensics() {
			jobs[w.call] = append(jobs[w.call], w.target)
			continue
		}
		lane := taplinev1.Lane_LANE_FORENSICS_1 + taplinev1.Lane(w.level-1)
		if err := x.publish(ctx, d, raw, &taplinev1.Job{Call: string(w.call), Lane: lane, Targets: []*taplinev1.Target{w.target}}); err != nil {
			return nil, err
		}
	}
	for call, targets := range jobs {
		if err := x.publish(ctx, d, raw, &taplinev1.Job{Call: string(call), Lane: taplinev1.Lane_LANE_EXPAND, Targets: targets}); err != nil {
			return nil, err
		}
	}
	want.Dead = uint32(len(letters))
	want.Known = want.GetNamed() - want.GetOrdered() - want.GetDead()
	return letters, nil
}

// verdict asks this process's memory, then the shared one.
func (x *expander) verdict(ctx context.Context, key string, w *lookup) (known.Verdict, error) {
	if x.recent.has(key, x.now()) {
		return known.Covered, nil
	}
	verdict, err := x.known.Covers(ctx, w.call, w.target)
	switch {
	case err != nil:
		return verdict, err
	case w.link && verdict != known.Linked:
		return known.Covered, nil
	case w.call.IsForensics() && verdict == known.Changed && w.target.GetUpdated() == nil:
		return known.Covered, nil // a report is read again when its campaign has changed, not when it is old
	}
	return verdict, nil
}

// publish stores one job. Its id names the batch it comes from, so a repetition orders nothing
// twice.
func (x *expander) publish(ctx context.Context, d *bus.Delivery, raw *batch.Raw, j *taplinev1.Job) error {
	hour := raw.FetchedAt.Truncate(time.Hour)
	j.Tenant, j.Feeds, j.Window = raw.Tenant, []string{string(feed.Call(j.GetCall()).Feed())}, window.New(hour, hour.Add(time.Hour)).Proto()
	j.Pass, j.PlannedAt = uint32(d.Sequence()), timestamppb.New(x.now())
	id, err := job.Of(j)
	if err != nil {
		return bus.Permanent(fmt.Errorf("order %s: %w", j.GetCall(), err))
	}
	j.Id = id.String()
	if err := x.bus.PublishJob(ctx, j); err != nil && !errors.Is(err, bus.ErrOutstanding) {
		return err
	}
	step.At("enricher.ordered")
	return nil
}

// unaskable stores a dead letter for a name that cannot stand in an address, unless there is one.
func (x *expander) unaskable(ctx context.Context, d *bus.Delivery, key string, w *lookup, letters map[string]*lookup) error {
	id, name := w.target.GetId(), known.DeadLetterID(x.cfg.Tenant.Name, w.call)
	if letters[name+id] != nil || x.recent.has(key, x.now()) {
		return nil
	}
	if told, err := x.known.DeadLettered(ctx, w.call, id); told || err != nil {
		return err
	}
	letter := x.newDeadLetter(d, w.call.Feed(), fmt.Errorf("%s: %.100q is no id that can be asked for", w.call, id), []byte(id))
	if err := x.bus.PublishDead(ctx, letter, name); err != nil {
		return err
	}
	step.At("enricher.dead")
	letters[name+id] = w
	return nil
}

// lookups finds what a batch names, each thing once.
func (x *expander) lookups(ctx context.Context, d *bus.Delivery, id job.ID, raw *batch.Raw) (map[string]*lookup, error) {
	all := make(map[string]*lookup)
	more, size := false, 0
	add := func(w *lookup) {
		key := w.key()
		switch have := all[key]; {
		case have == nil && (len(all) >= maxLookups || size+len(key) > maxKeys):
			more = true
		case have == nil:
			size += len(key)
			all[key] = w
		case w.level < have.level:
			all[key] = w
		}
	}
	if err := x.named(ctx, d, id, raw, add); err != nil || !more {
		return all, err
	}
	return all, x.excess(ctx, d, raw, []byte(raw.JobID), fmt.Sprintf("a batch names more than %d things to ask for, or %d MiB of them: the others are not asked for", maxLookups, maxKeys>>20))
}

// named adds what a batch names.
func (x *expander) named(ctx context.Context, d *bus.Delivery, id job.ID, raw *batch.Raw, add func(*lookup)) error {
	switch id.Call {
	case feed.CallSIEM:
		return x.ofRecords(ctx, d, raw, add)
	case feed.CallCampaignIDs:
		x.ofList(raw, add)
	case feed.CallCampaign:
		x.ofCampaigns(raw, add)
	case feed.CallVAP:
		if x.cfg.Feeds.Forensics {
			return x.vaps.learn(ctx, d.Sequence(), raw)
		}
	default:
	}
	return nil
}

// excess stores a dead letter for names beyond a bound. The rows are not touched.
func (x *expander) excess(ctx context.Context, d *bus.Delivery, raw *batch.Raw, payload []byte, reason string) error {
	letter := x.newDeadLetter(d, feed.Feed(raw.Feed), errors.New(reason), payload)
	err := x.bus.PublishDead(ctx, letter, letter.GetSource())
	step.At("enricher.dead")
	return err
}

// newDeadLetter is the dead letter of a name. The rows of its message have letters of their own.
func (x *expander) newDeadLetter(d *bus.Delivery, f feed.Feed, reason error, payload []byte) *taplinev1.DeadLetter {
	letter := d.NewDeadLetter(x.cfg.Tenant.Name, Flow.Stage, reason, payload)
	letter.Feed, letter.Source = string(f), "names/"+d.Source()
	return letter
}

// ofRecords finds what clicks and messages name.
func (x *expander) ofRecords(ctx context.Context, d *bus.Delivery, raw *batch.Raw, add func(*lookup)) error {
	f := feed.Feed(raw.Feed)
	for i := range raw.Records {
		record, err := names.In(raw.Records[i].JSON)
		if err != nil { // the side of rows dead-letters it
			continue
		}
		if record.More {
			reason := fmt.Sprintf("a record names more than %d threats: the others are not asked for", names.MaxThreats)
			if err := x.excess(ctx, d, raw, raw.Records[i].JSON, reason); err != nil {
				return err
			}
		}
		level := 2
		if f == feed.ClicksBlocked || f == feed.MessagesBlocked {
			level = 4
		}
		if x.cfg.Feeds.Forensics {
			is, err := x.vaps.any(ctx, record.Recipients)
			if err != nil {
				return err
			}
			if is {
				level--
			}
		}
		for _, t := range record.Threats {
			x.ofThreat(t, level, add)
		}
	}
	return nil
}

func (x *expander) ofThreat(t names.Threat, level int, add func(*lookup)) {
	feeds := &x.cfg.Feeds
	if feeds.Has(feed.Threats) {
		target := &taplinev1.Target{Id: t.ID, Status: t.Status}
		if feed.Askable(t.Campaign) {
			target.Campaign = t.Campaign
		}
		add(&lookup{call: feed.CallThreat, target: target})
	}
	if t.Campaign != "" && feeds.Has(feed.Campaigns) {
		add(&lookup{call: feed.CallCampaign, target: &taplinev1.Target{Id: t.Campaign}})
	}
	if !feeds.Forensics {
		return
	}
	if t.Campaign != "" && (feeds.CampaignForensics || feeds.Has(feed.Campaigns)) {
		add(&lookup{call: feed.CallCampaignForensics, level: level, target: &taplinev1.Target{Id: t.Campaign}})
	}
	if feeds.Has(feed.Threats) && (t.Campaign == "" || !feeds.CampaignForensics) {
		add(&lookup{call: feed.CallThreatForensics, level: level, target: &taplinev1.Target{Id: t.ID}})
	}
}

// ofList finds the campaigns of a list.
func (x *expander) ofList(raw *batch.Raw, add func(*lookup)) {
	for i := range raw.Records {
		record := raw.Records[i].JSON
		t := &taplinev1.Target{Id: identity.Text(record, "id")}
		if at, err := time.Parse(time.RFC3339, identity.Text(record, "lastUpdatedAt")); err == nil {
			t.Updated = timestamppb.New(at)
		}
		if t.GetId() == "" {
			continue // the list has it in RAW; there is nothing to ask for
		}
		add(&lookup{call: feed.CallCampaign, target: t})
		if x.cfg.Feeds.Forensics {
			add(&lookup{call: feed.CallCampaignForensics, level: 4, target: t})
		}
	}
}

// ofCampaigns finds threats that were known before their campaign was.
func (x *expander) ofCampaigns(raw *batch.Raw, add func(*lookup)) {
	if !x.cfg.Feeds.Has(feed.Threats) {
		return
	}
	for i := range raw.Records {
		record := raw.Records[i].JSON
		campaign := identity.Text(record, "id")
		members, err := names.Members(record)
		if err != nil || campaign == "" {
			continue
		}
		for _, member := range members {
			if feed.Askable(member) { // most are other customers' threats
				add(&lookup{call: feed.CallThreat, target: &taplinev1.Target{Id: member, Campaign: campaign}, link: true})
			}
		}
	}
}
