package heartbeat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Program is what is known of the processes of one stage.
type Program struct {
	Stage string
	// Replicas counts the processes with a heartbeat in the last two minutes that have not ended.
	Replicas int
	// Beats are the last heartbeats of each process of the last day, the latest first.
	Beats []*taplinev1.Heartbeat
}

// Last is the latest heartbeat, nil if there is none of the last day.
func (p Program) Last() *taplinev1.Heartbeat {
	if len(p.Beats) == 0 {
		return nil
	}
	return p.Beats[0]
}

// String says how long the stage has been silent.
func (p Program) String() string {
	last := p.Last()
	switch at := last.GetAt().AsTime().UTC().Format(time.RFC3339); {
	case last == nil:
		return "no heartbeat of " + p.Stage + " in the last day: is it running?"
	case last.GetEnded():
		return fmt.Sprintf("%s %s ended at %s and runs nowhere", p.Stage, last.GetVersion(), at)
	default:
		return fmt.Sprintf("the last heartbeat of %s %s was at %s", p.Stage, last.GetVersion(), at)
	}
}

// Fresh reports whether the process that wrote a heartbeat runs, as far as is known.
func Fresh(beat *taplinev1.Heartbeat, now time.Time) bool {
	return !beat.GetEnded() && now.Sub(beat.GetAt().AsTime()) <= Silence
}

// selector reads several keys at once.
type selector interface {
	Select(ctx context.Context, filters ...string) ([]bus.Pair, error)
}

// Read gives a line for each stage that should run, in flow order.
func Read(ctx context.Context, s selector, tenant string, now time.Time) ([]Program, error) {
	var programs []Program
	for _, stage := range Stages() {
		pairs, err := s.Select(ctx, key(tenant, stage, "*"))
		if err != nil {
			return nil, fmt.Errorf("heartbeats: %w", err)
		}
		p := Program{Stage: stage}
		for _, pair := range pairs {
			beat := &taplinev1.Heartbeat{}
			if err := wire.Unmarshal(pair.Value, beat); err != nil { // it is no sign of life, and says nothing about the others
				continue
			}
			p.Beats = append(p.Beats, beat)
			if Fresh(beat, now) {
				p.Replicas++
			}
		}
		slices.SortFunc(p.Beats, func(x, y *taplinev1.Heartbeat) int {
			return cmp.Or(y.GetAt().AsTime().Compare(x.GetAt().AsTime()), cmp.Compare(x.GetInstance(), y.GetInstance()))
		})
		programs = append(programs, p)
	}
	return programs, nil
}

// Watch reports the silence of stages.
type Watch struct {
	Tenant string
	Stages []string
	Since  time.Time // silence counts from here at the earliest
	State  selector
	Alarms *alarm.Board
}

// Look raises stage-silent for each stage that is silent, and clears it for each that is not.
func (w *Watch) Look(ctx context.Context, now time.Time) error {
	programs, err := Read(ctx, w.State, w.Tenant, now)
	if err != nil {
		return err
	}
	for _, p := range programs {
		switch {
		case !slices.Contains(w.Stages, p.Stage):
		case p.Replicas > 0:
			w.Alarms.ClearCause(ctx, alarm.StageSilent, p.Stage)
		case now.Sub(w.Since) > Silence:
			w.Alarms.HoldCause(ctx, alarm.StageSilent, p.Stage, p.String(), holds)
		}
	}
	return nil
}

// keys reads and deletes keys.
type keys interface {
	selector
	Delete(ctx context.Context, key string, revision uint64) error
}

// forget deletes heartbeats that are a day old. Their processes are gone: each start makes a key.
func forget(ctx context.Context, s keys, tenant string, now time.Time) error {
	pairs, err := s.Select(ctx, "heartbeat."+tenant+".>")
	if err != nil {
		return fmt.Errorf("heartbeats: %w", err)
	}
	for _, pair := range pairs {
		beat := &taplinev1.Heartbeat{}
		if err := wire.Unmarshal(pair.Value, beat); err == nil && now.Sub(beat.GetAt().AsTime()) <= kept {
			continue
		}
		if err := s.Delete(ctx, pair.Key, pair.Revision); err != nil && !errors.Is(err, bus.ErrConflict) {
			return fmt.Errorf("heartbeats: %w", err)
		}
	}
	return nil
}
