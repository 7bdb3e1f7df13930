package readback

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/devoquery"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/window"
)

const (
	// maxRows bounds the rows of one slice: about 20 MB.
	maxRows = 200_000
	// skew bounds how far the clocks of NATS, of this machine and of Devo are apart.
	skew = 2 * time.Minute
	// maxTries bounds how often a table is asked for whose answer breaks off.
	maxTries = 3
)

// source is the bus.
type source interface {
	Scan(ctx context.Context, s bus.Selection, visit func(bus.Stored) (bool, error)) error
	Backlog(ctx context.Context, c bus.Consumer) (bus.Backlog, error)
}

// loader is the ledger.
type loader interface {
	Load(ctx context.Context, tenant string, from, to time.Time) (*ledger.Report, error)
}

// devo is the query API.
type devo interface {
	Rows(ctx context.Context, q devoquery.Query, visit func(row []byte) error) error
}

// Comparison of what was stored in EVENTS in [From, To).
type Comparison struct {
	Bus      source
	Ledger   loader
	Devo     devo
	Tenant   string
	From, To time.Time
	Settle   time.Duration // how long Devo may take from a confirmation until it finds the row
	Now      func() time.Time
	MaxRows  int // of a slice; 0 means what fits into a bounded memory
}

// id is the value of @tapline_id.
type id [16]byte

// row is what is known of one row.
type row struct {
	want, have uint16 // times confirmed, times found
	batch      uint32 // index of its batch
}

// rowBatch is a batch of EVENTS.
type rowBatch struct {
	sequence uint64
	job      string
	window   window.Window
}

// slice is a part of one table.
type slice struct {
	first, last time.Time // stored first, confirmed last
	rows        map[id]row
	batches     []rowBatch
	dead        map[string]bool // sources of batches of which rows went to DEAD
}

// run is the state of one comparison.
type run struct {
	Comparison
	report *Report
	now    time.Time
	done   uint64 // up to which EVENTS is acknowledged
	days   map[time.Time]*ledger.Report
	slices map[string]*slice
	rows   int
	events batch.Events
}

// Run compares.
func (c Comparison) Run(ctx context.Context) (*Report, error) {
	backlog, err := c.Bus.Backlog(ctx, bus.ConsumerShipper)
	if err != nil {
		return nil, err
	}
	if c.MaxRows == 0 {
		c.MaxRows = maxRows
	}
	r := &run{
		Comparison: c, report: &Report{From: c.From, To: c.To, Tables: []Table{}, Windows: []Window{}, Missing: []Row{}, Doubled: []Row{}},
		now: c.Now(), done: backlog.Done, days: make(map[time.Time]*ledger.Report), slices: make(map[string]*slice),
	}
	// Asking takes long; no scan is held open meanwhile.
	part := bus.Events(c.Tenant).Since(c.From)
	for {
		last, err := r.collect(ctx, part)
		if err != nil {
			return nil, fmt.Errorf("read back: %w", err)
		}
		if err := r.compare(ctx); err != nil {
			return nil, fmt.Errorf("read back: %w", err)
		}
		if last == 0 {
			break
		}
		part = bus.Events(c.Tenant).After(last)
	}
	r.report.finish()
	return r.report, nil
}

// collect fills the slices from a part of EVENTS. It returns the sequence after which there
// is more, or 0.
func (r *run) collect(ctx context.Context, part bus.Selection) (last uint64, err error) {
	more := uint64(0)
	err = r.Bus.Scan(ctx, part, func(m bus.Stored) (bool, error) {
		if !m.Time.Before(r.To) {
			return false, nil
		}
		if err := batch.DecodeEvents(m.Data, &r.events); err != nil {
			return true, nil //nolint:nilerr // the shipper dead-letters it
		}
		if err := r.add(ctx, m); err != nil {
			return false, err
		}
		if r.rows >= r.MaxRows {
			more = m.Sequence
			return false, nil
		}
		return true, nil
	})
	return more, err
}

// add takes one batch.
func (r *run) add(ctx context.Context, m bus.Stored) error {
	e := &r.events
	p := rowBatch{sequence: m.Sequence, job: e.JobID}
	outcome, err := r.outcomeOf(ctx, &p)
	if err != nil {
		return err
	}
	if !outcome.confirmed || outcome.at.After(r.now.Add(-r.Settle)) {
		r.report.Pending += int64(len(e.Events))
		return nil
	}
	table := r.report.table(e.Table)
	s := r.slices[e.Table]
	if s == nil {
		s = &slice{first: m.Time, rows: make(map[id]row), dead: make(map[string]bool)}
		r.slices[e.Table] = s
	}
	for _, at := range []time.Time{m.Time, outcome.at} {
		if at.After(s.last) {
			s.last = at
		}
	}
	if outcome.dead > 0 {
		s.dead[origin(m.Sequence)] = true
	}
	s.batches = append(s.batches, p)
	for i := range e.Events {
		name, ok := nameOf(e.Events[i].JSON)
		if !ok {
			table.Nameless++
			continue
		}
		have, known := s.rows[name]
		if !known {
			have.batch = uint32(len(s.batches) - 1)
			r.rows++
		}
		have.want++
		s.rows[name] = have
	}
	return nil
}

func origin(sequence uint64) string { return fmt.Sprintf("%s/%d", bus.StreamEvents, sequence) }

// nameOf finds the @tapline_id of a row.
func nameOf(row []byte) (name id, ok bool) {
	text, ok := identity.FindTaplineID(row)
	if !ok {
		return name, false
	}
	_, err := hex.Decode(name[:], text)
	return name, err == nil
}

// outcome is the outcome of a batch at the shipper.
type outcome struct {
	confirmed bool
	at        time.Time // zero if it was not recorded
	dead      int64
}

// outcomeOf looks a batch up in the ledger. Rows of no job are in no sum of the ledger. Of them,
// and of rows whose record is lost, only the shipper's acknowledgement is known.
func (r *run) outcomeOf(ctx context.Context, p *rowBatch) (outcome, error) {
	f := outcome{confirmed: p.sequence <= r.done}
	id, err := job.Parse(p.job)
	if err != nil {
		return f, nil //nolint:nilerr // see above
	}
	p.window = id.Window
	day := id.Window.Start.UTC().Truncate(24 * time.Hour)
	if r.days[day] == nil {
		if len(r.days) == 10 {
			clear(r.days)
		}
		if r.days[day], err = r.Ledger.Load(ctx, r.Tenant, day, day.Add(24*time.Hour)); err != nil {
			return f, err
		}
	}
	_, sent := r.days[day].Batch(r.events.SourceSequence)
	for _, s := range sent {
		if s.GetTable() == r.events.Table && s.GetPart() == r.events.Part {
			return outcome{true, time.UnixMilli(s.GetAtMs()), s.GetDead()}, nil
		}
	}
	return f, nil
}

// errMany says that a row came more often than is counted.
var errMany = errors.New("a row is there more than 60000 times")
