package scheduler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

const (
	deadFor = 24 * time.Hour
	// lettersAtOnce bounds how many of the latest dead letters are counted.
	lettersAtOnce = 1000
	reasonsTold   = 3
	reasonLength  = 80
)

// letters are the dead letters of the last day.
type letters struct {
	seen bus.Usage // of DEAD, when it was read last
	list []letter
	more bool // there are older ones, uncounted
}

type letter struct {
	at     time.Time
	reason string
}

// watchDead counts the dead letters of the last day by reason. DEAD is read only when something has changed in it.
func (s *Scheduler) watchDead(ctx context.Context) error {
	usage, err := s.bus.Usage(ctx, bus.StreamDead)
	if err != nil {
		return fmt.Errorf("look at the dead letters: %w", err)
	}
	if usage != s.letters.seen {
		list, err := s.readDead(ctx, usage)
		if err != nil {
			return err
		}
		s.letters = letters{usage, list, len(list) > 0 && usage.Last > lettersAtOnce && usage.First <= usage.Last-lettersAtOnce}
	}
	counts, total := make(map[string]int), 0
	for _, l := range s.letters.list {
		if time.Since(l.at) < deadFor {
			counts[l.reason]++
			total++
		}
	}
	s.alarms.Set(ctx, alarm.Dead, total > 0, deadDetail(counts, total, s.letters.more))
	return nil
}

func deadDetail(counts map[string]int, total int, more bool) string {
	reasons := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(counts[b]-counts[a], strings.Compare(a, b))
	})
	var told []string
	for _, reason := range reasons[:min(len(reasons), reasonsTold)] {
		told = append(told, fmt.Sprintf("%d %s", counts[reason], reason))
	}
	if n := len(reasons) - reasonsTold; n > 0 {
		told = append(told, fmt.Sprintf("%d other reasons", n))
	}
	about := ""
	if more {
		about = "at least "
	}
	return fmt.Sprintf("%s%d dead letters in the last day: %s; tapctl dead lists them", about, total, strings.Join(told, ", "))
}

// readDead reads the latest letters of the tenant.
func (s *Scheduler) readDead(ctx context.Context, u bus.Usage) ([]letter, error) {
	from := u.First
	if u.Last > lettersAtOnce {
		from = max(from, u.Last-lettersAtOnce+1)
	}
	var list []letter
	for u.Messages > 0 {
		m, err := s.bus.Next(ctx, bus.Letters(), from)
		if errors.Is(err, bus.ErrNotFound) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the dead letters: %w", err)
		}
		from = m.Sequence + 1
		l := &taplinev1.DeadLetter{}
		if err := wire.Unmarshal(m.Data, l); err != nil || l.GetTenant() != s.cfg.Tenant.Name || l.GetPart() > 1 {
			continue // of nobody, of another tenant, or the rest of one that counts already
		}
		list = append(list, letter{m.Time, l.GetStage() + ": " + kindOf(l.GetReason())})
	}
	return list, nil
}

// kindOf is the part of a reason that many letters share.
func kindOf(reason string) string {
	kind, _, _ := strings.Cut(reason, ":")
	return kind[:min(len(kind), reasonLength)]
}
