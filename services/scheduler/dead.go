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
	// deadLettersAtOnce bounds how many of the latest dead letters are counted.
	deadLettersAtOnce = 1000
	reasonsListed     = 3
	reasonLength      = 80
)

// deadLetters are the dead letters of the last day.
type deadLetters struct {
	seen bus.Usage // of DEAD, when it was read last
	list []deadLetter
	more bool // there are older ones, uncounted
}

type deadLetter struct {
	at     time.Time
	reason string
}

// watchDead counts the dead letters of the last day by reason. DEAD is read only when something has
// changed in it.
func (s *Scheduler) watchDead(ctx context.Context) error {
	usage, err := s.bus.Usage(ctx, bus.StreamDead)
	if err != nil {
		return fmt.Errorf("look at the dead letters: %w", err)
	}
	if usage != s.deadLetters.seen {
		list, err := s.readDead(ctx, usage)
		if err != nil {
			return err
		}
		s.deadLetters = deadLetters{usage, list, len(list) > 0 && usage.Last > deadLettersAtOnce && usage.First <= usage.Last-deadLettersAtOnce}
	}
	counts, total := make(map[string]int), 0
	for _, l := range s.deadLetters.list {
		if time.Since(l.at) < deadFor {
			counts[l.reason]++
			total++
		}
	}
	s.alarms.Set(ctx, alarm.Dead, total > 0, deadDetail(counts, total, s.deadLetters.more))
	return nil
}

func deadDetail(counts map[string]int, total int, more bool) string {
	reasons := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(counts[b]-counts[a], strings.Compare(a, b))
	})
	var told []string
	for _, reason := range reasons[:min(len(reasons), reasonsListed)] {
		told = append(told, fmt.Sprintf("%d %s", counts[reason], reason))
	}
	if n := len(reasons) - reasonsListed; n > 0 {
		told = append(told, fmt.Sprintf("%d other reasons", n))
	}
	about := ""
	if more {
		about = "at least "
	}
	return fmt.Sprintf("%s%d dead letters in the last day: %s; tapctl dead lists them", about, total, strings.Join(told, ", "))
}

// readDead reads the latest letters of the tenant.
func (s *Scheduler) readDead(ctx context.Context, u bus.Usage) ([]deadLetter, error) {
	from := u.First
	if u.Last > deadLettersAtOnce {
		from = max(from, u.Last-deadLettersAtOnce+1)
	}
	var list []deadLetter
	for u.Messages > 0 {
		m, err := s.bus.Next(ctx, bus.DeadLetters(), from)
		if errors.Is(err, bus.ErrNotFound) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the dead letters: %w", err)
		}
		from = m.Sequence + 1
		l := &taplinev1.DeadLetter{}
		if err := wire.Unmarshal(m.Data, l); err != nil || l.GetTenant() != s.cfg.Tenant.Name || l.GetPart() > 1 {
			continue // of no tenant, of another tenant, or the remainder of one that counts already
		}
		list = append(list, deadLetter{m.Time, l.GetStage() + ": " + kindOf(l.GetReason())})
	}
	return list, nil
}

// kindOf is the part of a reason that many letters share.
func kindOf(reason string) string {
	kind, _, _ := strings.Cut(reason, ":")
	return kind[:min(len(kind), reasonLength)]
}
