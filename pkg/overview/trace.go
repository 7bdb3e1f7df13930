package overview

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Trace is the life of one record in one revision.
type Trace struct {
	TaplineID string    `json:"tapline_id,omitempty"`
	Feed      string    `json:"feed"`
	Job       string    `json:"job"`
	From      time.Time `json:"window_from"`
	To        time.Time `json:"window_to"`
	Fetched   time.Time `json:"fetched"`
	Revision  bool      `json:"revision"`
	Raw       uint64    `json:"raw_sequence,omitempty"`
	Deliver   []Step    `json:"deliveries"`
	Again     []Repeat  `json:"again,omitempty"`
	Dead      string    `json:"dead,omitempty"` // why it became no row
}

// Step is one batch of rows on its way to one table.
type Step struct {
	Table     string    `json:"table"`
	Event     uint64    `json:"event_sequence"`
	Made      time.Time `json:"made"`
	Confirmed time.Time `json:"confirmed"`        // zero while it is not
	Replay    string    `json:"replay,omitempty"` // that confirmed it, if it was not the usual way
}

// Repeat is what an order did with the record's batch.
type Repeat struct {
	Replay string    `json:"replay"`
	Table  string    `json:"table"`
	Event  uint64    `json:"event_sequence"`
	What   string    `json:"what"`           // made: again, by reprocessing; confirmed: these; sent: once more
	Sink   string    `json:"sink,omitempty"` // if not the one that everything goes to
	Rows   int64     `json:"rows"`           // of the batch
	At     time.Time `json:"at"`
}

// Trace finds records by a value that they contain (an id, a GUID) or by their
// @tapline_id, as far back as RAW and DEAD reach. It reads the whole stream.
func (r *Reader) Trace(ctx context.Context, id string) ([]Trace, error) {
	var found []Trace
	var raw batch.Raw
	value := []byte(`"` + id + `"`)
	err := r.src.Scan(ctx, bus.Raws(r.tenant), func(m bus.Stored) (bool, error) {
		if err := batch.DecodeRaw(m.Data, &raw); err != nil {
			return true, nil //nolint:nilerr // the enricher dead-letters it
		}
		for i := range raw.Records {
			rec := &raw.Records[i]
			name := string(identity.AppendTaplineID(nil, rec.ID, rec.Hash))
			if name != id && !bytes.Contains(rec.JSON, value) {
				continue
			}
			found = append(found, Trace{
				TaplineID: name, Feed: raw.Feed, Job: raw.JobID, From: raw.Window.Start, To: raw.Window.End, Fetched: raw.FetchedAt.UTC(),
				Revision: rec.Revision, Raw: m.Sequence,
			})
		}
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	for i := range found {
		if err := r.follow(ctx, &found[i]); err != nil {
			return nil, err
		}
	}
	return r.dead(ctx, value, found)
}

// follow looks up what became of the record's batch.
func (r *Reader) follow(ctx context.Context, t *Trace) error {
	id, err := job.Parse(t.Job)
	if err != nil {
		return nil //nolint:nilerr // a batch of no job has no account
	}
	sums, err := r.Ledger.Load(ctx, r.tenant, id.Window.Start, id.Window.End)
	if err != nil {
		return err
	}
	t.Deliver, t.Again = steps(sums, t.Raw), repeats(sums, t.Raw)
	return nil
}

func repeats(sums *ledger.Report, sequence uint64) (out []Repeat) {
	remade, resent := sums.Repeats(sequence)
	add := func(b *taplinev1.BatchRecord, what string) {
		out = append(out, Repeat{b.GetReplayId(), b.GetTable(), b.GetEventSequence(), what, b.GetSink(), b.GetEvents(), time.UnixMilli(b.GetAtMs()).UTC()})
	}
	for _, m := range remade {
		add(m, "made")
	}
	for _, s := range resent {
		if s.GetRemade() {
			add(s, "confirmed")
		} else {
			add(s, "sent")
		}
	}
	slices.SortStableFunc(out, func(x, y Repeat) int { return x.At.Compare(y.At) })
	return out
}

func steps(sums *ledger.Report, sequence uint64) []Step {
	var out []Step
	made, sent := sums.Batch(sequence)
	for _, m := range made {
		step := Step{Table: m.GetTable(), Event: m.GetEventSequence(), Made: time.UnixMilli(m.GetAtMs()).UTC()}
		for _, s := range sent {
			if s.GetTable() == m.GetTable() && s.GetPart() == m.GetPart() {
				step.Confirmed, step.Replay = time.UnixMilli(s.GetAtMs()).UTC(), s.GetReplayId()
			}
		}
		out = append(out, step)
	}
	return out
}

// dead adds what ended in DEAD: to what was found, or by itself.
func (r *Reader) dead(ctx context.Context, value []byte, found []Trace) ([]Trace, error) {
	for _, stage := range []string{"fetcher", "enricher", "shipper"} {
		err := r.src.Scan(ctx, bus.Dead(r.tenant, stage), func(m bus.Stored) (bool, error) {
			letter := &taplinev1.DeadLetter{}
			if err := wire.Unmarshal(m.Data, letter); err != nil ||
				(!bytes.Contains(letter.GetPayload(), value) && !bytes.Equal(letter.GetPayload(), value[1:len(value)-1])) {
				return true, nil //nolint:nilerr // not a letter, so not about this record
			}
			why := fmt.Sprintf("%s, DEAD/%d: %s", stage, m.Sequence, letter.GetReason())
			source := letter.GetSource()
			i := slices.IndexFunc(found, func(t Trace) bool {
				return t.Feed == letter.GetFeed() && source == fmt.Sprintf("%s/%d", bus.StreamRaw, t.Raw)
			})
			if i >= 0 {
				found[i].Dead = why
				return true, nil
			}
			t := Trace{Feed: letter.GetFeed(), Job: source, Fetched: letter.GetDiedAt().AsTime(), Dead: why}
			if id, err := job.Parse(source); err == nil {
				t.From, t.To = id.Window.Start, id.Window.End
			}
			found = append(found, t)
			return true, nil
		})
		if err != nil {
			return nil, fmt.Errorf("trace: %w", err)
		}
	}
	return found, nil
}
