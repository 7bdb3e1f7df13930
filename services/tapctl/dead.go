package tapctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// dead lists dead letters; its sub-commands do something about one.
func (t *tool) dead() *cobra.Command {
	limit := 20
	list := func(cmd *cobra.Command, _ []string) error {
		return t.connected(cmd, func(ctx context.Context, _ Config, b *bus.Bus) error { return t.letters(ctx, b, limit) })
	}
	cmd := &cobra.Command{Use: "dead", Short: "List what the stages could not process, newest first", Args: takes(0), RunE: list}
	ls := &cobra.Command{Use: "ls", Short: "List what the stages could not process, newest first", Args: takes(0), RunE: list}
	for _, c := range []*cobra.Command{cmd, ls} {
		c.Flags().IntVar(&limit, "limit", limit, "how many at most")
	}
	cmd.AddCommand(ls,
		t.oneLetter("show SEQUENCE", "Print one dead letter as JSON", t.showLetter),
		t.oneLetter("retry SEQUENCE", "Try once more what a dead letter is about (an id, a window, or a record with a raw control character), and take the letter away", t.retryLetter),
		t.oneLetter("drop SEQUENCE", "Take a dead letter away for good", t.dropLetter))
	return cmd
}

// deadLetter is one entry of DEAD: a letter, or the pieces of a record that is too large for one.
type deadLetter struct {
	*taplinev1.DeadLetter            // of pieces: the first, with the payload of all
	stored                bus.Stored // the first
	sequences             []uint64   // of all
}

// oneLetter is a command about one dead letter.
func (t *tool) oneLetter(use, short string, work func(context.Context, Config, *bus.Bus, deadLetter) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: takes(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			sequence, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil {
				return config.Invalid("SEQUENCE", args[0], "want a number that tapctl dead shows")
			}
			return t.connected(cmd, func(ctx context.Context, c Config, b *bus.Bus) error {
				stored, err := b.Message(ctx, bus.StreamDead, sequence)
				if errors.Is(err, bus.ErrNotFound) {
					return config.Invalid("SEQUENCE", args[0], "there is no such dead letter: see tapctl dead")
				}
				if err != nil {
					return err
				}
				letter, err := whole(ctx, b, stored)
				if err != nil {
					return err
				}
				return work(ctx, c, b, letter)
			})
		},
	}
}

func (t *tool) showLetter(_ context.Context, _ Config, _ *bus.Bus, d deadLetter) error {
	data, err := proto.Marshal(d.DeadLetter)
	if err != nil {
		return fmt.Errorf("dead letter %d: %w", d.stored.Sequence, err)
	}
	d.stored.Data = data
	return t.message(bus.StreamDead, d.stored)
}

func (t *tool) dropLetter(ctx context.Context, _ Config, b *bus.Bus, d deadLetter) error {
	if err := remove(ctx, b, d); err != nil {
		return err
	}
	t.say("dead letter %d is gone\n", d.stored.Sequence)
	return nil
}

// remove takes a letter away, the first piece last: it leads to the others.
func remove(ctx context.Context, b *bus.Bus, d deadLetter) error {
	for _, sequence := range slices.Backward(d.sequences) {
		if err := b.Delete(ctx, bus.StreamDead, sequence); err != nil {
			return err
		}
	}
	return nil
}

// letters lists the newest letters. The last piece of a record comes before the others.
func (t *tool) letters(ctx context.Context, b *bus.Bus, limit int) error {
	usage, err := b.Usage(ctx, bus.StreamDead)
	if err != nil {
		return err
	}
	var tails pieces
	for sequence := usage.Last; sequence > 0 && sequence >= usage.First && limit > 0; sequence-- {
		stored, err := b.Message(ctx, bus.StreamDead, sequence)
		if errors.Is(err, bus.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		l := &taplinev1.DeadLetter{}
		if err := wire.Unmarshal(stored.Data, l); err != nil {
			return fmt.Errorf("dead letter %d: %w", stored.Sequence, err)
		}
		tail, first := tails.join(l)
		if !first {
			continue
		}
		limit--
		if t.output == "json" {
			err = t.message(bus.StreamDead, stored)
		} else {
			t.letter(stored, l, tail)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *tool) letter(stored bus.Stored, l *taplinev1.DeadLetter, tail tail) {
	note := ""
	if retriable(l) {
		note = "  (may be retried)"
	}
	if tail.pieces > 0 {
		note = fmt.Sprintf("  (%d bytes in %d letters)", tail.bytes+len(l.GetPayload()), tail.pieces+1)
	}
	t.say("%d  %s  %s %s  from %s: %s%s\n    %.200q\n", stored.Sequence, stored.Time.UTC().Format(time.RFC3339), l.GetStage(), l.GetFeed(),
		l.GetSource(), l.GetReason(), note, l.GetPayload())
}
