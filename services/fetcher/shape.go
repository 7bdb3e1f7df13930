package fetcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
)

// queryEnd is what an answer without queryEndTime lacks.
const queryEnd = "queryEndTime"

// shapes knows what the answers of this API look like. What an answer had once may never be
// missing; what none ever had, and answers of two endpoints lack, is not part of this API's
// language.
type shapes struct {
	bucket *bus.Bucket // STATE
	key    string
	lost   func(context.Context, error) // reports that what is in STATE cannot be read

	mu   sync.Mutex
	seen []string // is in STATE
}

func newShapes(b *bus.Bucket, tenant string, lost func(context.Context, error)) *shapes {
	return &shapes{bucket: b, key: "shape." + tenant, lost: lost}
}

// lostShapes raises the alarm about shapes that cannot be read.
func (f *Fetcher) lostShapes(ctx context.Context, err error) {
	detail := "what Proofpoint's answers look like cannot be read in STATE: no answer is believed any more without all arrays and queryEndTime"
	f.log.Error("shapes of answers are unreadable", slog.String("detail", detail), slog.Any("error", err))
	f.alarms.HoldCause(ctx, alarm.MemoryLost, "shapes", detail+": "+err.Error(), rebuiltHeld)
}

// read gives what is known at the moment: another fetcher may have learned since. What cannot be
// read is replaced by the cautious answer, that answers had everything once: an array that was
// there must not be learned to be missing.
func (s *shapes) read(ctx context.Context) (*taplinev1.Shapes, uint64, error) {
	entry, err := s.bucket.Get(ctx, s.key)
	if err != nil && !errors.Is(err, bus.ErrNotFound) {
		return nil, 0, fmt.Errorf("read the shapes of answers: %w", err)
	}
	known := &taplinev1.Shapes{}
	unreadable := wire.Unmarshal(entry.Value, known)
	if unreadable == nil {
		return known, entry.Revision, nil
	}
	known = &taplinev1.Shapes{Seen: append(feed.Names(feed.SIEM()), queryEnd)}
	data, err := proto.Marshal(known)
	if err != nil {
		return nil, 0, fmt.Errorf("write the shapes of answers: %w", err)
	}
	s.lost(ctx, unreadable)
	revision, err := s.bucket.Update(ctx, s.key, data, entry.Revision)
	if err != nil {
		return nil, 0, fmt.Errorf("write the shapes of answers: %w", err)
	}
	return known, revision, nil
}

// change writes what alter makes of it, unless that is nothing new.
func (s *shapes) change(ctx context.Context, alter func(*taplinev1.Shapes)) (*taplinev1.Shapes, error) {
	var known *taplinev1.Shapes
	err := bus.RetryOnConflict(ctx, func() (err error) {
		var revision uint64
		if known, revision, err = s.read(ctx); err != nil {
			return err
		}
		before := proto.CloneOf(known)
		alter(known)
		if proto.Equal(before, known) {
			return nil
		}
		data, err := proto.Marshal(known)
		if err == nil {
			_, err = s.bucket.Update(ctx, s.key, data, revision)
		}
		if err != nil {
			return fmt.Errorf("write the shapes of answers: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return known, nil
}

// saw remembers what an answer has, before the answer is stored: it takes a write once for each
// piece.
func (s *shapes) saw(ctx context.Context, e proofpoint.Evidence) error {
	have := feed.Names(e.Present)
	if !e.QueryEnd.IsZero() {
		have = append(have, queryEnd)
	}
	s.mu.Lock()
	news := slices.DeleteFunc(have, func(piece string) bool { return slices.Contains(s.seen, piece) })
	s.mu.Unlock()
	if len(news) == 0 {
		return nil
	}
	known, err := s.change(ctx, func(k *taplinev1.Shapes) {
		for _, piece := range news {
			if !slices.Contains(k.GetSeen(), piece) {
				k.Seen = append(k.Seen, piece)
			}
		}
		k.Learned = slices.DeleteFunc(k.GetLearned(), func(l *taplinev1.LearnedShape) bool { return slices.Contains(news, l.GetLacks()) })
	})
	if err == nil {
		s.mu.Lock()
		s.seen = known.GetSeen()
		s.mu.Unlock()
	}
	return err
}

// lacks lists what is missing in an answer and may be learned to be normal; nil for any other flaw.
func lacks(e proofpoint.Evidence, flaw *proofpoint.Flaw) []string {
	switch flaw.Kind {
	case proofpoint.NoQueryEnd:
		if e.EndText == "" {
			return []string{queryEnd}
		}
	case proofpoint.MissingArray:
		if len(flaw.Feeds) > 1 && len(e.Present) == 0 {
			return nil // no language lacks all of them
		}
		for _, f := range flaw.Feeds {
			if slices.ContainsFunc(e.Others, func(other string) bool { return strings.EqualFold(other, string(f)) }) {
				return nil // it is there, spelled in another way
			}
		}
		return feed.Names(flaw.Feeds)
	}
	return nil
}

// flaw is why an answer does not prove that a window was read, apart from what is learned; nil if
// it does.
func (f *Fetcher) flaw(ctx context.Context, w *work, c call, e proofpoint.Evidence) (*proofpoint.Flaw, error) {
	for {
		flaw := e.Flaw(c.window)
		if flaw == nil {
			return nil, nil // no flaw is the good case
		}
		pieces := lacks(e, flaw)
		if len(pieces) == 0 {
			return flaw, nil
		}
		for _, piece := range pieces {
			if normal, err := f.normal(ctx, w, c, piece); err != nil || !normal {
				return flaw, err
			}
		}
		if flaw.Kind == proofpoint.MissingArray {
			e.Missing = nil
			continue
		}
		e.QueryEnd = c.window.End
	}
}

// normal reports whether this API never gives a piece of evidence. It is learned from two
// endpoints.
func (f *Fetcher) normal(ctx context.Context, w *work, c call, piece string) (bool, error) {
	twice := f.ladder.Lacks(w.job.GetId(), c.endpoint.Path, piece)
	learned, now := false, false
	is := func(l *taplinev1.LearnedShape) bool { return l.GetLacks() == piece }
	_, err := f.shapes.change(ctx, func(k *taplinev1.Shapes) {
		learned, now = slices.ContainsFunc(k.GetLearned(), is), false
		if !learned && twice && !slices.Contains(k.GetSeen(), piece) {
			k.Learned = append(k.GetLearned(), &taplinev1.LearnedShape{Lacks: piece, At: timestamppb.New(f.now()), JobId: w.job.GetId()})
			learned, now = true, true
		}
	})
	if err != nil {
		return false, err
	}
	if now {
		f.log.Warn("Proofpoint's answers never have this, from two endpoints: they are believed without it", slog.String("lacks", piece), slog.String("job", w.job.GetId()))
	}
	return learned, nil
}
