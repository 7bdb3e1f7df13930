package tapctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tapline/tapline/pkg/backoff"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/printable"
	"github.com/tapline/tapline/pkg/replay"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

const (
	lookEvery = 500 * time.Millisecond
	// printEvery is how often progress is printed where no bar can be drawn.
	printEvery = 10 * time.Second
	// unclaimedAfter is how long an order waits before that is worth a word.
	unclaimedAfter = 10 * time.Second
	// patience is how long the server may be away while progress is shown.
	patience = 2 * time.Minute
)

// replayView is an order as it is printed.
type replayView struct {
	ID        string     `json:"id"`
	State     string     `json:"state"`
	Reason    string     `json:"reason,omitempty"`
	Progress  float64    `json:"progress"` // 0 to 1
	Messages  uint64     `json:"messages"`
	Settled   uint64     `json:"settled"` // messages
	Rows      uint64     `json:"rows"`    // resent, or reprocessed
	Bytes     uint64     `json:"bytes"`
	Delivered uint64     `json:"delivered"` // rows left out: delivered before, or on their way
	Dead      uint64     `json:"dead"`
	Missed    uint64     `json:"missed"` // messages that were gone before they were reached
	Owner     string     `json:"owner,omitempty"`
	Ordered   time.Time  `json:"ordered"`
	Started   *time.Time `json:"started,omitempty"`
	Changed   time.Time  `json:"changed"` // when the state changed
	From      *time.Time `json:"from,omitempty"`
	To        *time.Time `json:"to,omitempty"`
	First     uint64     `json:"first_sequence"`
	Last      uint64     `json:"last_sequence"`
	Tables    []string   `json:"tables,omitempty"`
	Feeds     []string   `json:"feeds,omitempty"`
	Windows   []string   `json:"windows,omitempty"`
	IDs       []string   `json:"ids,omitempty"`
	Sink      string     `json:"sink,omitempty"`
	Rate      uint32     `json:"rate,omitempty"`
	All       bool       `json:"all"`
	Reprocess bool       `json:"reprocess"`
}

func viewOf(r *taplinev1.Replay) replayView {
	o, p := r.GetOrder(), r.GetProgress()
	v := replayView{
		ID: o.GetId(), State: replay.StateName(r), Reason: r.GetReason(), Progress: replay.Share(r), Messages: o.GetMessages(), Settled: p.GetMessages(),
		Rows: p.GetRows(), Bytes: p.GetBytes(), Delivered: p.GetDelivered(), Dead: p.GetDead(), Owner: r.GetOwner(),
		Ordered: o.GetOrderedAt().AsTime(), Changed: r.GetChangedAt().AsTime(), First: o.GetFirstSequence(), Last: o.GetLastSequence(),
		Tables: o.GetTables(), Feeds: o.GetFeeds(), Windows: o.GetJobs(), IDs: o.GetRecords(), Sink: o.GetSink(), Rate: o.GetRate(),
		All: o.GetAll(), Reprocess: o.GetReprocess(),
	}
	if v.State == "done" {
		v.Missed, v.Progress = replay.Missed(r), 1
	}
	if p.GetStartedAt() != nil {
		at := p.GetStartedAt().AsTime()
		v.Started = &at
	}
	if at := o.GetWindow().GetStart(); at != nil {
		from := at.AsTime()
		v.From = &from
	}
	if at := o.GetWindow().GetEnd(); at != nil {
		to := at.AsTime()
		v.To = &to
	}
	return v
}

func (v replayView) kind() string {
	if v.Reprocess {
		return "made"
	}
	return "sent"
}

func (v replayView) numbers() string {
	s := fmt.Sprintf("%d of %d messages, %d rows %s", v.Settled, v.Messages, v.Rows, v.kind())
	if v.Delivered > 0 {
		s += fmt.Sprintf(", %d left out (delivered, or on their way)", v.Delivered)
	}
	if v.Dead > 0 {
		s += fmt.Sprintf(", %d dead", v.Dead)
	}
	return s
}

func printReplays(w io.Writer, all []replayView) {
	if len(all) == 0 {
		printf(w, "no replays in the last 30 days\n")
		return
	}
	printf(w, "ID\tSTATE\tDONE\tMESSAGES\tROWS\tLEFT OUT\tSINK\tCHANGED\tREASON\n")
	for _, v := range all {
		sink := v.Sink
		switch {
		case v.Reprocess:
			sink = "(reprocess)"
		case sink == "":
			sink = "-"
		}
		printf(w, "%s\t%s\t%.0f %%\t%d\t%d\t%d\t%s\t%s\t%s\n", v.ID, v.State, 100*v.Progress, v.Messages, v.Rows, v.Delivered, sink,
			v.Changed.Format(time.RFC3339), v.Reason)
	}
}

func printReplay(w io.Writer, v replayView) {
	printf(w, "replay\t%s\nstate\t%s since %s\n", v.ID, v.State, v.Changed.Format(time.RFC3339))
	if v.Reason != "" {
		printf(w, "reason\t%s\n", v.Reason)
	}
	printf(w, "progress\t%.1f %%: %s\n", 100*v.Progress, v.numbers())
	printf(w, "range\tsequences %d to %d\n", v.First, v.Last)
	if v.Owner != "" {
		printf(w, "in work at\t%s\n", v.Owner)
	}
	for name, list := range map[string][]string{"tables": v.Tables, "feeds": v.Feeds, "windows": v.Windows, "ids": v.IDs} {
		if len(list) > 0 {
			printf(w, "%s\t%s\n", name, strings.Join(list, ", "))
		}
	}
}

// notice prints something that is no result: on stderr when the result is JSON.
func (t *tool) notice(format string, args ...any) {
	if t.output == "json" {
		printf(t.Stderr, format, args...)
		return
	}
	t.say(format, args...)
}

// announce says what was ordered and what that means.
func (t *tool) announce(o *taplinev1.ReplayOrder) {
	t.notice("replay %s: %d messages\n", o.GetId(), o.GetMessages())
	switch {
	case o.GetReprocess():
		t.notice("reprocessed rows are sent beside those that were sent before: they carry @tapline_reprocess_id\n")
	case o.GetAll():
		t.notice("rows that were delivered before arrive once more, with the same @tapline_id and a @tapline_replay_id\n")
	default:
		t.notice("rows that the ledger shows as delivered are left out; --all sends them, too\n")
	}
}

// started waits until a stage has taken the order, and to its end unless it is detached.
func (t *tool) started(ctx context.Context, b *bus.Bus, store *replay.Store, id string, detach bool) error {
	if !detach {
		return t.follow(ctx, b, store, id)
	}
	deadline := time.Now().Add(unclaimedAfter)
	for {
		var r *taplinev1.Replay
		err := patiently(ctx, func() (err error) {
			r, err = store.Get(ctx, id)
			return err
		})
		if err != nil {
			return err
		}
		begun := r.GetProgress().GetStartedAt() != nil || replay.Over(r)
		if begun || time.Now().After(deadline) {
			if !begun {
				t.notice("not claimed yet: is a shipper running?\n")
			}
			return t.result(ctx, b, r)
		}
		if !backoff.Sleep(ctx, lookEvery) {
			return t.leave(id)
		}
	}
}

// follow shows the progress until the end.
func (t *tool) follow(ctx context.Context, b *bus.Bus, store *replay.Store, id string) error {
	bar := t.newBar()
	began, told := time.Now(), false
	for {
		var r *taplinev1.Replay
		err := patiently(ctx, func() (err error) {
			r, err = store.Get(ctx, id)
			return err
		})
		if err != nil {
			bar.end()
			if ctx.Err() != nil {
				return t.leave(id)
			}
			return err
		}
		v := viewOf(r)
		if replay.Over(r) {
			bar.end()
			return t.result(ctx, b, r)
		}
		if !told && v.State == "ordered" && time.Since(began) > unclaimedAfter {
			told = true
			t.notice("not claimed yet: is a shipper running? It waits for one.\n")
		}
		bar.show(v)
		if !backoff.Sleep(ctx, lookEvery) {
			bar.end()
			return t.leave(id)
		}
	}
}

// leave says that the end of the command is not the end of the replay.
func (t *tool) leave(id string) error {
	t.notice("the replay continues without this command: tapctl replay show %s looks at it, tapctl replay cancel %s ends it\n", id, id)
	return nil
}

// result prints an order as it is; one that was not done makes the exit status.
func (t *tool) result(ctx context.Context, b *bus.Bus, r *taplinev1.Replay) error {
	if err := patiently(ctx, func() error { return tidy(ctx, b, r) }); err != nil {
		return err
	}
	v := viewOf(r)
	if err := t.print(v, func(w io.Writer) { printReplay(w, v) }); err != nil {
		return err
	}
	switch {
	case v.State == "refused":
		return config.Invalid("replay", v.ID, v.Reason)
	case v.State == "cancelled", v.Missed > 0:
		return errFound
	}
	return nil
}

// patiently repeats a question that got no answer: a restart of the server is no reason to give up.
func patiently(ctx context.Context, ask func() error) error {
	for began := time.Now(); ; {
		err := ask()
		if err == nil || errors.Is(err, bus.ErrNotFound) || errors.Is(err, bus.ErrNotSetUp) || errors.Is(err, replay.ErrTooMany) ||
			time.Since(began) > patience || !backoff.Sleep(ctx, lookEvery) {
			return err
		}
	}
}

// bar shows progress: on a terminal in one line that changes, elsewhere in a line now and then.
type bar struct {
	t        *tool
	w        io.Writer
	terminal bool
	drawn    bool
	last     string
	printed  time.Time
}

func (t *tool) newBar() *bar {
	b := &bar{t: t, w: t.Stdout}
	if t.output == "json" {
		b.w = t.Stderr
	}
	b.terminal = printable.Terminal(b.w)
	return b
}

const barWidth = 30

func (b *bar) show(v replayView) {
	line := fmt.Sprintf("%s, %.1f %%: %s", v.State, 100*v.Progress, v.numbers())
	if v.Reason != "" {
		line += " (" + v.Reason + ")"
	}
	if b.terminal {
		full := int(v.Progress * barWidth)
		printf(printable.Raw(b.w), "\r\x1b[K[%s%s] %s", strings.Repeat("#", full), strings.Repeat(" ", barWidth-full), line)
		b.drawn = true
		return
	}
	if line != b.last && time.Since(b.printed) >= printEvery {
		printf(b.w, "%s\n", line)
		b.last, b.printed = line, time.Now()
	}
}

func (b *bar) end() {
	if b.drawn {
		printf(b.w, "\n")
	}
}
