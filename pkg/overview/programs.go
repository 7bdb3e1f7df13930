package overview

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tapline/tapline/pkg/heartbeat"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// starting is how long a program may be unready after its start before a person is needed.
const starting = time.Minute

// Program is one program that should run.
type Program struct {
	Stage    string   `json:"stage"`
	Replicas int      `json:"replicas"` // processes that give signs of life
	Versions []string `json:"versions"` // of these; if there is none, of the last one
	// Last is the latest heartbeat; zero if there was none in the last day.
	Last time.Time `json:"last_heartbeat"`
	// Troubles is what their own probes say.
	Troubles []string `json:"troubles"`
	// Needs says what needs a person; empty if nothing does.
	Needs string `json:"needs,omitempty"`
}

// programs reads the heartbeats. They go by the wall clock, whatever the clock of the windows is.
func (r *Reader) programs(ctx context.Context, s *Status, _ []set) error {
	now := time.Now()
	all, err := heartbeat.Read(ctx, r.state, r.tenant, now)
	if err != nil {
		return fmt.Errorf("overview: %w", err)
	}
	for _, p := range all {
		s.Programs = append(s.Programs, program(p, now))
	}
	return nil
}

func program(p heartbeat.Program, now time.Time) Program {
	out := Program{Stage: p.Stage, Replicas: p.Replicas, Versions: []string{}, Troubles: []string{}}
	last := p.Last()
	if last != nil {
		out.Last = last.GetAt().AsTime()
	}
	if p.Replicas == 0 {
		out.Needs = p.String()
		if last != nil {
			out.Versions = append(out.Versions, last.GetVersion())
		}
		return out
	}
	for _, beat := range p.Beats {
		if !heartbeat.Fresh(beat, now) {
			continue
		}
		if !slices.Contains(out.Versions, beat.GetVersion()) {
			out.Versions = append(out.Versions, beat.GetVersion())
		}
		troubles := troublesOf(beat, p.Replicas > 1)
		out.Troubles = append(out.Troubles, troubles...)
		unready := !beat.GetReady() && now.Sub(beat.GetStartedAt().AsTime()) > starting
		if (unready || !beat.GetAlive()) && out.Needs == "" {
			out.Needs = fmt.Sprintf("%s cannot make progress: %s", p.Stage, strings.Join(troubles, "; "))
		}
	}
	slices.Sort(out.Versions)
	return out
}

// troublesOf is what the probes of one process say.
func troublesOf(beat *taplinev1.Heartbeat, named bool) (troubles []string) {
	for _, part := range slices.Sorted(maps.Keys(beat.GetTroubles())) {
		text := part + ": " + beat.GetTroubles()[part]
		if named {
			text = beat.GetInstance() + ": " + text
		}
		troubles = append(troubles, text)
	}
	return troubles
}
