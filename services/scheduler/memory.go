package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// lateBirth is how much younger than RAW the bucket STATE may be: setup makes both within minutes.
const lateBirth = time.Hour

// watchMemory compares streams, buckets and consumers with what is remembered of them. One that is
// new, or that went back, has forgotten: that is reported once, and the alarm is held for a day.
func (s *Scheduler) watchMemory(ctx context.Context) error {
	key := "memory." + s.cfg.Tenant.Name + ".parts"
	before, revision, err := s.remembered(ctx, key)
	if err != nil {
		return err
	}
	now, err := s.parts(ctx)
	if err != nil {
		return err
	}
	for name, part := range now.GetParts() {
		if have := before.GetParts()[name]; have != nil {
			s.reportForgotten(ctx, name, forgot(name, have, part))
		}
	}
	if raw, state := now.GetParts()[bus.StreamRaw], now.GetParts()["KV_"+bus.BucketState]; revision == 0 && state.GetCreatedAt().AsTime().Sub(raw.GetCreatedAt().AsTime()) > lateBirth {
		s.reportForgotten(ctx, "KV_"+bus.BucketState, "was made anew at "+state.GetCreatedAt().AsTime().Format(time.RFC3339))
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(now)
	if err != nil {
		return fmt.Errorf("remember the streams: %w", err)
	}
	if _, err := s.state.Update(ctx, key, data, revision); err != nil && !errors.Is(err, bus.ErrConflict) { // another scheduler looks, too
		return fmt.Errorf("remember the streams: %w", err)
	}
	return nil
}

func (s *Scheduler) remembered(ctx context.Context, key string) (*taplinev1.Memory, uint64, error) {
	memory := &taplinev1.Memory{}
	entry, err := s.state.Get(ctx, key)
	if errors.Is(err, bus.ErrNotFound) {
		return memory, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("what was remembered of the streams: %w", err)
	}
	if err := wire.Unmarshal(entry.Value, memory); err != nil {
		return nil, 0, fmt.Errorf("what was remembered of the streams: %w", err)
	}
	return memory, entry.Revision, nil
}

// parts looks at everything that remembers.
func (s *Scheduler) parts(ctx context.Context) (*taplinev1.Memory, error) {
	memory := &taplinev1.Memory{Parts: make(map[string]*taplinev1.MemoryPart)}
	for _, stream := range []string{
		bus.StreamRaw, bus.StreamEvents, bus.StreamDead, "KV_" + bus.BucketQuota, "KV_" + bus.BucketLedger, "KV_" + bus.BucketSeen, "KV_" + bus.BucketKnown, "KV_" + bus.BucketState,
	} {
		u, err := s.bus.Usage(ctx, stream)
		if err != nil {
			return nil, fmt.Errorf("look at what remembers: %w", err)
		}
		memory.Parts[stream] = &taplinev1.MemoryPart{CreatedAt: timestamppb.New(u.Created), Sequence: u.Last}
	}
	for _, c := range []bus.Consumer{bus.ConsumerEnricher, bus.ConsumerExpander, bus.ConsumerShipper} {
		backlog, err := s.bus.Backlog(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("look at what remembers: %w", err)
		}
		memory.Parts[c.Stream+"/"+c.Name] = &taplinev1.MemoryPart{CreatedAt: timestamppb.New(backlog.Created), Sequence: backlog.Done}
	}
	return memory, nil
}

// forgot says in which way a part has forgotten; empty if it has not. A server that was killed
// forgets the acknowledgements of a moment, which is no loss of a consumer's place.
func forgot(name string, before, now *taplinev1.MemoryPart) string {
	switch {
	case !now.GetCreatedAt().AsTime().Equal(before.GetCreatedAt().AsTime()):
		return "was made anew at " + now.GetCreatedAt().AsTime().Format(time.RFC3339)
	case now.GetSequence() < before.GetSequence() && (!strings.Contains(name, "/") || now.GetSequence() == 0):
		return fmt.Sprintf("went back from sequence %d to %d", before.GetSequence(), now.GetSequence())
	}
	return ""
}

func (s *Scheduler) reportForgotten(ctx context.Context, name, how string) {
	if how == "" {
		return
	}
	s.log.Error("memory is lost", slog.String("of", name), slog.String("detail", how))
	s.alarms.HoldCause(ctx, alarm.MemoryLost, name, name+" "+how, lostFor)
}
