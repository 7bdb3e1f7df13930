package overview

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Report is what [Reader.Verify] finds.
type Report struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Windows int       `json:"windows"` // entries looked at, one for each job and feed
	// Compared is how many of the entries are of something that was read: without one nothing was
	// compared.
	Compared int `json:"compared"`
	Lost     int `json:"lost"`     // ranges among the gaps that are lost
	Unproven int `json:"unproven"` // ranges among the gaps that are unproven
	Sums
	Resent     int64              `json:"resent"` // rows that replays sent once more
	Remade     Remade             `json:"remade"`
	Dead       []Dead             `json:"dead"` // what is in DEAD, by stage, feed and reason
	Violations []ledger.Violation `json:"violations"`
	Gaps       []Gap              `json:"gaps"` // lost, missing and unproven
}

// Sums follow the records from the answers of Proofpoint to the sink:
//
//	received - duplicates - dead at the fetcher                  = records published
//	records + extra - without a row - dead at the enricher - lost - unmade = rows
//	rows - dead at the shipper - lost - unconfirmed                 = confirmed
type Sums struct {
	Received    int64 `json:"received"`
	Duplicates  int64 `json:"duplicates"`
	FetcherDead int64 `json:"dead_fetcher"`
	Records     int64 `json:"records"` // published

	Extra        int64 `json:"extra"`       // rows beyond one for each record
	Rowless      int64 `json:"without_row"` // records that make no row: entries of the list of campaigns
	EnricherDead int64 `json:"dead_enricher"`
	LostRecords  int64 `json:"lost_records"` // left RAW before they became rows
	Unmade       int64 `json:"unmade"`       // records that wait for the enricher
	Rows         int64 `json:"rows"`         // made

	ShipperDead int64 `json:"dead_shipper"`
	LostRows    int64 `json:"lost_rows"`   // left EVENTS undelivered
	Unconfirmed int64 `json:"unconfirmed"` // rows that wait for the sink
	Confirmed   int64 `json:"confirmed"`
	Pending     int64 `json:"pending"` // unmade and unconfirmed
}

func (s *Sums) add(r *ledger.Row) {
	s.Received += r.Received
	s.Duplicates += r.Duplicate
	s.FetcherDead += r.Dead
	s.Records += r.Published
	s.Extra += max(r.Extra, 0)
	s.Rowless += max(-r.Extra, 0)
	s.EnricherDead += r.MadeDead
	s.Rows += r.Events
	s.ShipperDead += r.SentDead
	s.Confirmed += r.Confirmed
	s.Pending += r.Pending()
	rows := min(r.Lost, r.Events-r.SentDead-r.Confirmed)
	s.LostRows += rows
	s.LostRecords += r.Lost - rows
}

// finish derives what follows from the other fields.
func (s *Sums) finish() {
	s.Unmade = s.Records + s.Extra - s.Rowless - s.EnricherDead - s.LostRecords - s.Rows
	s.Unconfirmed = s.Rows - s.ShipperDead - s.LostRows - s.Confirmed
}

// Remade is rows that were reprocessed. They stand beside the others.
type Remade struct {
	Rows      int64 `json:"rows"`
	Confirmed int64 `json:"confirmed"`
}

// Dead counts dead letters that have the same to say.
type Dead struct {
	Stage   string    `json:"stage"`
	Feed    string    `json:"feed"`
	Reason  string    `json:"reason"`
	Letters int       `json:"letters"`
	Last    time.Time `json:"last"`
}

// Good reports whether something was compared and nothing is lost, missing, unproven, or wrong.
func (r *Report) Good() bool { return r.Compared > 0 && len(r.Violations) == 0 && len(r.Gaps) == 0 }

// Verify checks the whole ledger.
func (r *Reader) Verify(ctx context.Context) (*Report, error) {
	sets, err := r.sets(ctx)
	if err != nil {
		return nil, err
	}
	from := r.first(sets, kept)
	sums, err := r.Ledger.Load(ctx, r.tenant, from, r.now().Add(time.Hour))
	if err != nil {
		return nil, err
	}
	report := &Report{From: from, To: r.now().UTC(), Windows: len(sums.Rows)}
	for i := range sums.Rows {
		row := &sums.Rows[i]
		if row.State == taplinev1.WindowState_WINDOW_STATE_FETCHED {
			report.Compared++
		}
		report.add(row)
		report.Resent += row.Resent
		report.Remade.Rows += row.Remade
		report.Remade.Confirmed += row.Redelivered
	}
	report.finish()
	report.Violations = append([]ledger.Violation{}, sums.Violations()...) // never null in JSON
	report.Gaps = append([]Gap{}, slices.DeleteFunc(gaps(sets, sums, from), func(g Gap) bool { return !g.wanted() })...)
	for _, g := range report.Gaps {
		switch g.State {
		case Lost:
			report.Lost++
		case NotProven:
			report.Unproven++
		}
	}
	report.Dead, err = r.deadLetters(ctx)
	return report, err
}

// maxDead bounds the lines about dead letters; those behind it share a line for each stage.
const maxDead = 100

// deadLetters counts what is in DEAD.
func (r *Reader) deadLetters(ctx context.Context) ([]Dead, error) {
	type key struct{ stage, feed, reason string }
	found := make(map[key]*Dead)
	for _, stage := range []string{"fetcher", "enricher", "shipper"} {
		err := r.src.Scan(ctx, bus.Dead(r.tenant, stage), func(m bus.Stored) (bool, error) {
			letter := &taplinev1.DeadLetter{}
			if err := wire.Unmarshal(m.Data, letter); err != nil {
				letter.Reason = "not a dead letter"
			}
			k := key{stage, letter.GetFeed(), letter.GetReason()}
			if found[k] == nil && len(found) >= maxDead {
				k = key{stage, "", "other reasons"}
			}
			if found[k] == nil {
				found[k] = &Dead{Stage: k.stage, Feed: k.feed, Reason: k.reason}
			}
			found[k].Letters++
			found[k].Last = m.Time.UTC()
			return true, nil
		})
		if err != nil {
			return nil, fmt.Errorf("dead letters: %w", err)
		}
	}
	list := []Dead{}
	for _, d := range found {
		list = append(list, *d)
	}
	slices.SortFunc(list, func(a, b Dead) int {
		return cmp.Or(-cmp.Compare(a.Letters, b.Letters), cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Feed, b.Feed), cmp.Compare(a.Reason, b.Reason))
	})
	return list, nil
}
