package ledger_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/ledger"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// TestPagesWithoutEnd: a part of which a stage writes more than is read is named, page by page, and
// so are pages that do not come in one answer; the other parts count. Keys that are of no hour are
// not read.
func TestPagesWithoutEnd(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	l := open(t, b)
	if err := l.RecordJob(t.Context(), entry(0)); err != nil {
		t.Fatal(err)
	}
	bucket, err := b.Bucket(t.Context(), bus.BucketLedger)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1100 {
		if err := bucket.Put(t.Context(), fmt.Sprintf("sent.main.%s.%d", hour.Format("20060102"), 100+i), []byte("\xff")); err != nil {
			t.Fatal(err)
		}
	}
	huge, err := encode(&taplinev1.LedgerPage{Sent: []*taplinev1.BatchRecord{{Feed: strings.Repeat("x", 7<<20)}}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := bucket.Put(t.Context(), ledger.Key(ledger.PartSent, "main", hour.Add(time.Duration(i)*time.Hour)), huge); err != nil {
			t.Fatal(err)
		}
	}
	book, err := l.Load(t.Context(), "main", hour, hour.Add(12*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	unread := book.Unread()
	if len(unread) != 2 || !strings.Contains(unread[0], " has 7340") || len(book.Rows) == 0 { // three of them are within 22 MiB
		t.Errorf("%d rows, unread %q", len(book.Rows), unread)
	}
}
