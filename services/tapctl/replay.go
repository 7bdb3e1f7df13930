package tapctl

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/replay"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// request is an order as the command line gives it.
type request struct {
	from, to                       string
	tables, feeds, windows, ids    []string
	sink                           string
	rate                           uint32
	all, dryRun, reprocess, detach bool
}

// replay gives an order; its sub-commands look at orders and change them.
func (t *tool) replay() *cobra.Command {
	var w request
	cmd := &cobra.Command{
		Use: "replay", Short: "Send stored rows again, or make them again with --reprocess", Args: takes(0),
		Long: `Send rows again that the streams still have, to the same sink or another, without a call to Proofpoint. By default
only what the ledger does not show as delivered is sent; rows carry @tapline_replay_id. The shippers do the work: this
command may end, and be run again, at any moment.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.connected(cmd, func(ctx context.Context, c Config, b *bus.Bus) error { return t.order(ctx, c, b, w) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&w.from, "from", "", "rows stored from then on: RFC 3339, or an age such as 2h or 7d")
	f.StringVar(&w.to, "to", "", "rows stored before then; now if empty")
	f.StringSliceVar(&w.tables, "table", nil, "only rows of this table; may be repeated")
	f.StringSliceVar(&w.feeds, "feed", nil, "only rows of this feed; may be repeated")
	f.StringSliceVar(&w.windows, "window", nil, "only rows of this job, or of all jobs of a window (<tenant>/<feeds>/<start>/<end>); may be repeated")
	f.StringSliceVar(&w.ids, "id", nil, "only rows with this id, GUID or @tapline_id; may be repeated")
	f.StringVar(&w.sink, "sink", "", "devo, devo-http, file or stdout; the sink that everything goes to if empty")
	f.Uint32Var(&w.rate, "rate", 0, "rows in a second; REPLAY_RATE of the shipper if 0")
	f.BoolVar(&w.all, "all", false, "also what is delivered: it arrives once more, with the same @tapline_id")
	f.BoolVar(&w.dryRun, "dry-run", false, "only count what would be sent")
	f.BoolVar(&w.reprocess, "reprocess", false, "make the rows again, of the stored records, with the rules of today")
	f.BoolVar(&w.detach, "detach", false, "do not wait for the end")
	cmd.AddCommand(t.replayList(),
		t.oneReplay("show ID", "Show one replay", func(ctx context.Context, _ *bus.Bus, store *replay.Store, id string) (*taplinev1.Replay, error) {
			return store.Get(ctx, id)
		}),
		t.oneReplay("pause ID", "Stop a replay until it is resumed", change(replay.Pause)),
		t.oneReplay("resume ID", "Resume a paused replay", resume),
		t.oneReplay("cancel ID", "End a replay for good", change(replay.Cancel)),
		t.replayWait())
	return cmd
}

// opener gives access to the orders.
type opener func(ctx context.Context, c Config, b *bus.Bus) (*replay.Store, error)

// awaited opens the orders for a command that waits, from its first question on.
func awaited(ctx context.Context, c Config, b *bus.Bus) (store *replay.Store, err error) {
	err = patiently(ctx, func() error {
		store, err = replays(ctx, c, b)
		return err
	})
	return store, err
}

// replays opens the orders.
func replays(ctx context.Context, c Config, b *bus.Bus) (*replay.Store, error) {
	bucket, err := b.Bucket(ctx, bus.BucketReplay)
	if err != nil {
		return nil, err
	}
	return replay.NewStore(bucket, c.Tenant.Name), nil
}

func (t *tool) replayList() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List the replays of the last 30 days", Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.connected(cmd, func(ctx context.Context, c Config, b *bus.Bus) error {
				store, err := replays(ctx, c, b)
				if err != nil {
					return err
				}
				all, err := store.List(ctx)
				if err != nil {
					return err
				}
				views := []replayView{}
				for _, r := range all {
					if err := tidy(ctx, b, r); err != nil {
						return err
					}
					views = append(views, viewOf(r))
				}
				return t.print(views, func(w io.Writer) { printReplays(w, views) })
			})
		},
	}
}

// tidy removes the consumer of an order that is over: the stages may not.
func tidy(ctx context.Context, b *bus.Bus, r *taplinev1.Replay) error {
	if !replay.Over(r) {
		return nil
	}
	return b.RemoveReplay(ctx, replay.Consumer(r.GetOrder()))
}

// verb does something about one order and gives it back as it is then.
type verb func(ctx context.Context, b *bus.Bus, store *replay.Store, id string) (*taplinev1.Replay, error)

func (t *tool) oneReplay(use, short string, do verb) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: takes(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.aReplay(cmd, args[0], replays, func(ctx context.Context, b *bus.Bus, store *replay.Store) error {
				r, err := do(ctx, b, store, args[0])
				if err != nil {
					return err
				}
				if err := tidy(ctx, b, r); err != nil {
					return err
				}
				view := viewOf(r)
				return t.print(view, func(w io.Writer) { printReplay(w, view) })
			})
		},
	}
}

// aReplay runs a command about one order, and says what is wrong with the id if that is the reason.
func (t *tool) aReplay(cmd *cobra.Command, id string, open opener, work func(ctx context.Context, b *bus.Bus, store *replay.Store) error) error {
	if !bus.ValidTenant(id) { // the same alphabet
		return config.Invalid("ID", id, "want the id of a replay: see tapctl replay ls")
	}
	return t.connected(cmd, func(ctx context.Context, c Config, b *bus.Bus) error {
		store, err := open(ctx, c, b)
		if err != nil {
			return err
		}
		err = work(ctx, b, store)
		switch {
		case errors.Is(err, bus.ErrNotFound):
			return config.Invalid("ID", id, "there is no such replay: see tapctl replay ls")
		case errors.Is(err, replay.ErrOver), errors.Is(err, replay.ErrNotPaused):
			return config.Invalid("ID", id, err.Error())
		}
		return err
	})
}

// change applies a change of the state.
func change(how func(*taplinev1.Replay, time.Time) error) verb {
	return func(ctx context.Context, _ *bus.Bus, store *replay.Store, id string) (*taplinev1.Replay, error) {
		return store.Change(ctx, id, func(r *taplinev1.Replay) error { return how(r, time.Now()) })
	}
}

// resume recreates the consumer if it is gone, from where the progress is; then the order resumes.
func resume(ctx context.Context, b *bus.Bus, store *replay.Store, id string) (*taplinev1.Replay, error) {
	r, err := store.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	_, err = b.Backlog(ctx, replay.Consumer(r.GetOrder()))
	if err != nil && !errors.Is(err, bus.ErrNotSetUp) {
		return nil, err
	}
	if err != nil && !replay.Over(r) { // only an admin can make it
		o := r.GetOrder()
		first := max(o.GetFirstSequence(), r.GetProgress().GetFloor()+1)
		if err := b.MakeReplay(ctx, replay.Consumer(o), replay.Selection(o), first); err != nil {
			return nil, err
		}
	}
	return store.Change(ctx, id, func(r *taplinev1.Replay) error { return replay.Resume(r, time.Now()) })
}

// replayWait follows an order to its end.
func (t *tool) replayWait() *cobra.Command {
	return &cobra.Command{
		Use: "wait ID", Short: "Show the progress of a replay until it ends", Args: takes(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.aReplay(cmd, args[0], awaited, func(ctx context.Context, b *bus.Bus, store *replay.Store) error {
				return t.follow(ctx, b, store, args[0])
			})
		},
	}
}
