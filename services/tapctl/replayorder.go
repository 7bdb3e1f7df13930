package tapctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/replay"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/shipper"
)

// order checks a request against what the streams have, then gives the order, or only counts.
func (t *tool) order(ctx context.Context, c Config, b *bus.Bus, w request) error {
	now := t.Now()
	o, from, to, err := w.parse(c.Tenant.Name, now)
	if err != nil {
		return err
	}
	store, err := replays(ctx, c, b)
	if err != nil {
		return err
	}
	if err := w.bound(ctx, b, o); err != nil {
		return err
	}
	if err := kept(ctx, b, o, from, to); err != nil {
		return err
	}
	extent, err := b.Extent(ctx, replay.Selection(o), from, to)
	if err != nil {
		return err
	}
	o.FirstSequence, o.LastSequence, o.Messages = extent.First, extent.Last, extent.Messages
	if w.dryRun {
		return t.dryRun(ctx, c, b, o)
	}
	if extent.Empty() {
		t.notice("there is nothing in that range\n")
		return nil
	}
	if err := b.MakeReplay(ctx, replay.Consumer(o), replay.Selection(o), o.GetFirstSequence()); err != nil {
		return err
	}
	if err := give(ctx, b, store, o); err != nil {
		return err
	}
	t.announce(o)
	return t.started(ctx, b, store, o.GetId(), w.detach)
}

// give writes the order, and retries when no answer arrives: one that was written is under way, and
// the operator must know.
func give(ctx context.Context, b *bus.Bus, store *replay.Store, o *taplinev1.ReplayOrder) error {
	err := patiently(ctx, func() error {
		_, err := store.Give(ctx, o)
		return err
	})
	if errors.Is(err, replay.ErrTooMany) {
		return errors.Join(err, b.RemoveReplay(context.WithoutCancel(ctx), replay.Consumer(o)))
	}
	if err != nil { // its consumer stays for it
		return fmt.Errorf("it is not known whether the replay was ordered, tapctl replay show %s shows it: %w", o.GetId(), err)
	}
	return nil
}

// parse reads the command line; everything that can be wrong without a look at the bus is told
// here.
func (w request) parse(tenant string, now time.Time) (o *taplinev1.ReplayOrder, from, to time.Time, err error) {
	o = &taplinev1.ReplayOrder{
		Id: replay.NewID(now), Tenant: tenant, Tables: w.tables, Feeds: w.feeds, Jobs: w.windows, Records: w.ids,
		Sink: w.sink, Rate: w.rate, All: w.all, Reprocess: w.reprocess, OrderedAt: timestamppb.New(now),
	}
	if w.from != "" {
		if from, err = instant("--from", w.from, now); err != nil {
			return o, from, to, err
		}
	}
	if w.to != "" {
		if to, err = instant("--to", w.to, now); err != nil {
			return o, from, to, err
		}
	}
	switch {
	case from.IsZero() && len(w.windows) == 0 && len(w.ids) == 0:
		return o, from, to, config.Invalid("--from", "", "say from when on, or which --window or --id")
	case !to.IsZero() && !from.Before(to):
		return o, from, to, config.Invalid("--from", w.from, "want a time before --to, which is "+to.Format(time.RFC3339))
	case w.reprocess && w.sink != "":
		return o, from, to, config.Invalid("--sink", w.sink, "--reprocess makes rows for the stream, and the shippers send them to their sink: leave --sink out")
	case w.reprocess && w.all:
		return o, from, to, config.Invalid("--all", "true", "--reprocess makes all rows again, delivered or not: leave --all out")
	case w.sink != "" && !slices.Contains(shipper.Sinks(), w.sink):
		return o, from, to, config.Invalid("--sink", w.sink, "want one of "+strings.Join(shipper.Sinks(), ", "))
	}
	if !from.IsZero() || !to.IsZero() {
		o.Window = &taplinev1.Window{}
		if !from.IsZero() {
			o.Window.Start = timestamppb.New(from)
		}
		if !to.IsZero() {
			o.Window.End = timestamppb.New(to)
		}
	}
	return o, from, to, w.names(tenant)
}

// names checks what is called by a name.
func (w request) names(tenant string) error {
	var tables []string
	for _, f := range feed.All() {
		tables = append(tables, f.Table())
	}
	for _, name := range w.tables {
		if !slices.Contains(tables, name) {
			return config.Invalid("--table", name, "want one of "+strings.Join(tables, ", "))
		}
	}
	for _, name := range w.feeds {
		if !feed.Feed(name).Valid() {
			return config.Invalid("--feed", name, "want one of "+strings.Join(feed.Names(feed.All()), ", "))
		}
	}
	for _, name := range w.windows {
		if id, err := windowOf(name); err != nil || id.Tenant != tenant {
			return config.Invalid("--window", name, "want the id of a job of tenant "+tenant+
				", or its beginning <tenant>/<feeds>/<start>/<end>: see tapctl ledger --output json")
		}
	}
	for _, id := range w.ids {
		if len(id) < 3 || strings.ContainsAny(id, `"\`) {
			return config.Invalid("--id", id, "want the id or GUID of a record, or a @tapline_id")
		}
	}
	return nil
}

// windowOf reads the id of a job, or its beginning up to the window.
func windowOf(name string) (job.ID, error) {
	id, err := job.Parse(name)
	if err != nil {
		id, err = job.Parse(name + "/" + job.Live + "/0")
	}
	if err != nil {
		return id, fmt.Errorf("window: %w", err)
	}
	return id, nil
}

// kept refuses what the stream has no more, and says from when on it has everything.
func kept(ctx context.Context, b *bus.Bus, o *taplinev1.ReplayOrder, from, to time.Time) error {
	stream := replay.Consumer(o).Stream
	usage, err := b.Usage(ctx, stream)
	if err != nil {
		return err
	}
	gone := usage.First > 1
	switch {
	case gone && usage.Messages == 0:
		return config.Invalid("--from", "", stream+" has nothing: all of it is too old, or was delivered and given up to free space")
	case gone && !from.IsZero() && from.Before(usage.Oldest):
		return config.Invalid("--from", from.Format(time.RFC3339), fmt.Sprintf("%s has everything from %s on; what is older was given up after eight days, or delivered and given up to free space", stream, usage.Oldest.UTC().Format(time.RFC3339Nano)))
	case gone && !to.IsZero() && !to.After(usage.Oldest):
		return config.Invalid("--to", to.Format(time.RFC3339), fmt.Sprintf("%s has everything from %s on; what is older was given up after eight days, or delivered and given up to free space", stream, usage.Oldest.UTC().Format(time.RFC3339Nano)))
	case gone && o.GetFirstSequence() > 0 && o.GetFirstSequence() < usage.First:
		return config.Invalid("--window", strings.Join(o.GetJobs(), ","), fmt.Sprintf("%s has everything from %s on; what is older was given up after eight days, or delivered and given up to free space", stream, usage.Oldest.UTC().Format(time.RFC3339Nano)))
	}
	return nil
}

// bound finds in the ledger where the rows of windows lie, so that not the whole stream is read for
// them.
func (w request) bound(ctx context.Context, b *bus.Bus, o *taplinev1.ReplayOrder) error {
	if len(w.windows) == 0 {
		return nil
	}
	bucket, err := b.Bucket(ctx, bus.BucketLedger)
	if err != nil {
		return err
	}
	l := ledger.New(bucket)
	for _, name := range w.windows {
		id, err := windowOf(name)
		if err != nil {
			return err
		}
		report, err := l.Load(ctx, o.GetTenant(), id.Window.Start, id.Window.Start.Add(window.MinSpan))
		if err != nil {
			return err
		}
		if !place(report, o, name) {
			return config.Invalid("--window", name, "the ledger knows no rows of it: see tapctl ledger --day "+id.Window.Start.Format(time.DateOnly))
		}
	}
	return nil
}

// place widens an order to what the ledger shows of a window, and reports whether that is anything.
func place(report *ledger.Report, o *taplinev1.ReplayOrder, name string) (found bool) {
	widen := func(sequence uint64) {
		if o.GetFirstSequence() == 0 || sequence < o.GetFirstSequence() {
			o.FirstSequence = sequence
		}
		o.LastSequence = max(o.GetLastSequence(), sequence)
		found = true
	}
	for i := range report.Rows {
		row := &report.Rows[i]
		if !replay.MatchesJob([]string{name}, row.Job.String()) || row.Marker == 0 {
			continue
		}
		for sequence := row.First; sequence < row.Marker; sequence++ {
			if o.GetReprocess() {
				widen(sequence)
				continue
			}
			made, _ := report.Batch(sequence)
			remade, _ := report.Repeats(sequence)
			for _, m := range slices.Concat(made, remade) {
				if m.GetEventSequence() > 0 {
					widen(m.GetEventSequence())
				}
			}
		}
	}
	return found
}
