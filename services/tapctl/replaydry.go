package tapctl

import (
	"context"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/replay"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// dryTable is what a replay would send of one table; of --reprocess, the records that rows would be
// made of.
type dryTable struct {
	Table     string `json:"table"`
	Messages  int64  `json:"messages"`
	Rows      int64  `json:"rows"`
	Bytes     int64  `json:"bytes"`
	Delivered int64  `json:"delivered"` // rows that would be left out, as they are delivered or on their way
}

// dryCount counts what an order wants without sending it.
type dryCount struct {
	order      *taplinev1.ReplayOrder
	filter     *replay.Filter
	deliveries *ledger.Deliveries
	reached    uint64 // up to where the shippers have finished
	byTable    map[string]*dryTable
	events     batch.Events
	raw        batch.Raw
}

func (t *tool) dryRun(ctx context.Context, _ Config, b *bus.Bus, o *taplinev1.ReplayOrder) error {
	bucket, err := b.Bucket(ctx, bus.BucketLedger)
	if err != nil {
		return err
	}
	d := &dryCount{order: o, filter: replay.NewFilter(o), deliveries: ledger.New(bucket).Deliveries(), byTable: make(map[string]*dryTable)}
	backlog, err := b.Backlog(ctx, bus.ConsumerShipper)
	if err != nil {
		return err
	}
	if d.reached = backlog.Done; o.GetSink() != "" { // to another sink everything may go
		d.reached = math.MaxUint64
	}
	visit := d.rows
	if o.GetReprocess() {
		visit = d.records
	}
	if o.GetMessages() > 0 {
		err := b.Scan(ctx, replay.Selection(o), func(m bus.Stored) (bool, error) { return true, visit(ctx, m) })
		if err != nil {
			return err
		}
	}
	tables := []dryTable{}
	for _, counted := range d.byTable {
		tables = append(tables, *counted)
	}
	slices.SortFunc(tables, func(x, y dryTable) int { return strings.Compare(x.Table, y.Table) })
	return t.print(tables, func(w io.Writer) { printDry(w, tables) })
}

func printDry(w io.Writer, tables []dryTable) {
	var sum dryTable
	printf(w, "TABLE\tMESSAGES\tROWS\tBYTES\tLEFT OUT\n")
	line := func(t dryTable) { printf(w, "%s\t%d\t%d\t%d\t%d\n", t.Table, t.Messages, t.Rows, t.Bytes, t.Delivered) }
	for _, t := range tables {
		line(t)
		sum.Messages, sum.Rows, sum.Bytes, sum.Delivered = sum.Messages+t.Messages, sum.Rows+t.Rows, sum.Bytes+t.Bytes, sum.Delivered+t.Delivered
	}
	sum.Table = "together"
	line(sum)
	printf(w, "nothing was sent\n")
}

func (d *dryCount) table(name string) *dryTable {
	if d.byTable[name] == nil {
		d.byTable[name] = &dryTable{Table: name}
	}
	return d.byTable[name]
}

func (d *dryCount) rows(ctx context.Context, m bus.Stored) error {
	e := &d.events
	if err := batch.DecodeEvents(m.Data, e); err != nil || !d.filter.Table(e.Table) || !d.filter.Batch(e.Feed, e.JobID) {
		return nil //nolint:nilerr // such a message is in DEAD
	}
	if !d.order.GetAll() {
		has, err := d.deliveries.Has(ctx, e)
		if err != nil {
			return err
		}
		if has || m.Sequence > d.reached {
			d.table(e.Table).Delivered += int64(len(e.Events))
			return nil
		}
	}
	d.count(e.Table, len(e.Events), func(i int) (string, []byte) { return string(e.Events[i].ID), e.Events[i].JSON })
	return nil
}

func (d *dryCount) records(_ context.Context, m bus.Stored) error {
	raw := &d.raw
	if err := batch.DecodeRaw(m.Data, raw); err != nil || !d.filter.Batch(raw.Feed, raw.JobID) {
		return nil //nolint:nilerr // such a message is in DEAD
	}
	d.count(feed.Feed(raw.Feed).Table(), len(raw.Records), func(i int) (string, []byte) {
		r := &raw.Records[i]
		return string(identity.AppendTaplineID(nil, r.ID, r.Hash)), r.JSON
	})
	return nil
}

func (d *dryCount) count(name string, n int, at func(int) (string, []byte)) {
	rows, size := int64(0), int64(0)
	for i := range n {
		if id, json := at(i); d.filter.Row(id, json) {
			rows, size = rows+1, size+int64(len(json))
		}
	}
	if rows > 0 {
		t := d.table(name)
		t.Messages, t.Rows, t.Bytes = t.Messages+1, t.Rows+rows, t.Bytes+size
	}
}
