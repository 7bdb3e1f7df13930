package overview_test

import (
	"strings"
	"testing"

	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/overview"
)

// TestRowsThatLeftAStreamAreLost: they are no longer on their way, and the sums say where they
// went.
func TestRowsThatLeftAStreamAreLost(t *testing.T) {
	t.Parallel()
	tt := newTenant(t)
	for minute := range 10 {
		tt.read(minute)
		switch {
		case minute < 8:
			tt.deliver(minute)
		case minute < 9:
			tt.made(minute)
		}
	}
	lose := func(minute int, batch uint64) {
		t.Helper()
		id, err := job.Parse(order(minute).GetId())
		if err != nil {
			t.Fatal(err)
		}
		gone := rows(minute)
		gone.EventSequence = batch
		if err := tt.ledger.RecordLosses(t.Context(), at(9).AsTime(), ledger.Loss{Job: id, Batch: gone}); err != nil {
			t.Fatal(err)
		}
	}
	lose(8, 7) // a row in EVENTS
	lose(9, 0) // a record in RAW
	r := tt.verify()
	if r.Pending != 0 || r.LostRows != 10 || r.LostRecords != 10 || r.Unmade != 0 || r.Unconfirmed != 0 || r.Good() || r.Lost != 2 {
		t.Errorf("%+v", r)
	}
	for _, g := range r.Gaps {
		if g.State != overview.Lost || !g.Undelivered || !strings.Contains(g.Reason, "before they were delivered") {
			t.Errorf("%+v", g)
		}
	}
}
