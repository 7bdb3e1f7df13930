package tapctl

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/known"
	"github.com/tapline/tapline/pkg/window"
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
		t.oneLetter("show SEQUENCE", "Print one dead letter as JSON", func(_ context.Context, _ Config, _ *bus.Bus, stored bus.Stored) error {
			return t.message(bus.StreamDead, stored)
		}),
		t.oneLetter("retry SEQUENCE", "Ask once more for what a dead letter is about, and take the letter away", t.retry),
		t.oneLetter("drop SEQUENCE", "Take a dead letter away for good", t.drop))
	return cmd
}

// oneLetter is a command about one dead letter.
func (t *tool) oneLetter(use, short string, work func(context.Context, Config, *bus.Bus, bus.Stored) error) *cobra.Command {
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
				return work(ctx, c, b, stored)
			})
		},
	}
}

// retry publishes the job of a letter once more, under an id of its own.
func (t *tool) retry(ctx context.Context, c Config, b *bus.Bus, stored bus.Stored) error {
	letter := &taplinev1.DeadLetter{}
	if err := proto.Unmarshal(stored.Data, letter); err != nil {
		return fmt.Errorf("dead letter %d: %w", stored.Sequence, err)
	}
	j := letter.GetRetry()
	if j == nil || len(j.GetTargets()) != 1 {
		return config.Invalid("SEQUENCE", strconv.FormatUint(stored.Sequence, 10),
			"only an id that Proofpoint did not answer can be asked for again; this is "+letter.GetStage()+": "+letter.GetReason())
	}
	bucket, err := b.Bucket(ctx, bus.BucketKnown)
	if err != nil {
		return err
	}
	call, target := feed.Call(j.GetCall()), j.GetTargets()[0]
	if err := known.Open(bucket, c.Tenant.Name, known.Config{}, time.Now).Forget(ctx, call, target.GetId()); err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	if !call.IsForensics() {
		j.Lane = taplinev1.Lane_LANE_RETRY
	}
	j.Window, j.Pass, j.PlannedAt = window.New(now, now.Add(time.Hour)).Proto(), uint32(stored.Sequence), timestamppb.New(now)
	id, err := job.Of(j)
	if err != nil {
		return fmt.Errorf("dead letter %d: %w", stored.Sequence, err)
	}
	j.Id = id.String()
	if err := b.PublishJob(ctx, j); err != nil && !errors.Is(err, bus.ErrOutstanding) {
		return err
	}
	if err := b.Delete(ctx, bus.StreamDead, stored.Sequence); err != nil {
		return err
	}
	t.say("%s %s is asked for again\n", call, target.GetId())
	return nil
}

func (t *tool) drop(ctx context.Context, _ Config, b *bus.Bus, stored bus.Stored) error {
	if err := b.Delete(ctx, bus.StreamDead, stored.Sequence); err != nil {
		return err
	}
	t.say("dead letter %d is gone\n", stored.Sequence)
	return nil
}

func (t *tool) letters(ctx context.Context, b *bus.Bus, limit int) error {
	usage, err := b.Usage(ctx, bus.StreamDead)
	if err != nil {
		return err
	}
	for sequence := usage.Last; sequence > 0 && sequence >= usage.First && limit > 0; sequence-- {
		stored, err := b.Message(ctx, bus.StreamDead, sequence)
		if errors.Is(err, bus.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		limit--
		if t.output == "json" {
			err = t.message(bus.StreamDead, stored)
		} else {
			err = t.letter(stored)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *tool) letter(stored bus.Stored) error {
	var l taplinev1.DeadLetter
	if err := proto.Unmarshal(stored.Data, &l); err != nil {
		return fmt.Errorf("dead letter %d: %w", stored.Sequence, err)
	}
	note := ""
	if l.GetRetry() != nil {
		note = "  (may be retried)"
	}
	t.say("%d  %s  %s %s  from %s: %s%s\n    %.200q\n", stored.Sequence, stored.Time.UTC().Format(time.RFC3339), l.GetStage(), l.GetFeed(),
		l.GetSource(), l.GetReason(), note, l.GetPayload())
	return nil
}
