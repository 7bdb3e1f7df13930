package readback

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/devoquery"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// compare compares the slices and forgets them.
func (r *run) compare(ctx context.Context) error {
	if err := r.exempt(ctx); err != nil {
		return err
	}
	for _, table := range slices.Sorted(maps.Keys(r.slices)) {
		s := r.slices[table]
		to := s.last.Add(r.Settle + skew)
		if err := r.ask(ctx, table, s, to); err != nil {
			return err
		}
		if now := r.Now().Add(skew); s.short() && now.After(to) {
			// It may have come later, as a repetition, or by a clock that is off.
			if err := r.ask(ctx, table, s, now); err != nil {
				return err
			}
		}
		r.enter(table, s)
	}
	clear(r.slices)
	r.rows = 0
	return nil
}

// short reports whether something seems to be missing.
func (s *slice) short() bool {
	for _, row := range s.rows {
		if row.have == 0 {
			return true
		}
	}
	return false
}

// exempt takes out the rows that the shipper sent to DEAD.
func (r *run) exempt(ctx context.Context) error {
	any := false
	for _, s := range r.slices {
		any = any || len(s.dead) > 0
	}
	if !any {
		return nil
	}
	return r.Bus.Scan(ctx, bus.Dead(r.Tenant, "shipper"), func(m bus.Stored) (bool, error) {
		letter := &taplinev1.DeadLetter{}
		if err := wire.Unmarshal(m.Data, letter); err != nil {
			return true, nil //nolint:nilerr // not a letter, so not about a row
		}
		s := r.slices[letter.GetTable()]
		if s == nil || !s.dead[letter.GetSource()] {
			return true, nil
		}
		if name, ok := nameOf(letter.GetPayload()); ok {
			if row, ok := s.rows[name]; ok && row.want > 1 {
				row.want--
				s.rows[name] = row
			} else {
				delete(s.rows, name)
			}
		}
		return true, nil
	})
}

// ask counts what Devo has of a slice.
func (r *run) ask(ctx context.Context, table string, s *slice, to time.Time) error {
	q := devoquery.Query{Table: table, From: s.first.Add(-skew), To: to}
	for try := 1; ; try++ {
		for name, row := range s.rows {
			row.have = 0
			s.rows[name] = row
		}
		err := r.Devo.Rows(ctx, q, func(text []byte) error {
			name, ok := nameOf(text)
			if !ok || !bytes.HasSuffix(bytes.TrimSpace(text), []byte{'}'}) { // what Devo has cut is not there
				return nil
			}
			row, ok := s.rows[name]
			if !ok {
				return nil
			}
			if row.have++; row.have > 60_000 {
				return fmt.Errorf("%w: %s", errMany, hex.EncodeToString(name[:]))
			}
			s.rows[name] = row
			return nil
		})
		if err == nil || !errors.Is(err, devoquery.ErrBroken) || try == maxTries || ctx.Err() != nil {
			return err
		}
	}
}

// enter enters a slice into the report.
func (r *run) enter(table string, s *slice) {
	t := r.report.table(table)
	for name, row := range s.rows {
		t.Confirmed += int64(row.want)
		t.Found += int64(min(row.want, row.have))
		p := &s.batches[row.batch]
		line := Row{Table: table, TaplineID: hex.EncodeToString(name[:]), Job: p.job, Event: p.sequence, Times: int(row.have)}
		switch {
		case row.have == 0:
			t.Missing += int64(row.want)
			if w := r.report.window(table, p); w != nil {
				w.Missing += int64(row.want)
			}
			r.report.Missing = list(r.report.Missing, line)
		case row.have > row.want:
			t.Doubled += int64(row.have - row.want)
			if w := r.report.window(table, p); w != nil {
				w.Doubled += int64(row.have - row.want)
			}
			r.report.Doubled = list(r.report.Doubled, line)
		}
	}
}

func list(rows []Row, row Row) []Row {
	if len(rows) < MaxListed {
		rows = append(rows, row)
	}
	return rows
}
