package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/tapline/tapline/pkg/backoff"
)

// Selection is a part of a stream.
type Selection struct {
	stream      string
	filters     []string
	since       time.Time // zero for all
	first, last uint64    // 0 for no bound
}

// Since leaves out what was stored before an instant.
func (s Selection) Since(t time.Time) Selection {
	s.since = t
	return s
}

// After leaves out what has this sequence or an older one. It takes the place of [Selection.Since].
func (s Selection) After(sequence uint64) Selection {
	s.first = sequence + 1
	return s
}

// Between bounds the selection by sequences, both included; 0 is no bound. It takes the place of
// [Selection.Since].
func (s Selection) Between(first, last uint64) Selection {
	s.first, s.last = first, last
	return s
}

// What can be scanned, for one tenant each.

// Markers selects the accounts of jobs.
func Markers(tenant string) Selection { return selected(StreamRaw, markPrefix+tenant+".>") }

// AllMarkers selects the accounts of the jobs of all tenants.
func AllMarkers() Selection { return selected(StreamRaw, markPrefix+">") }

// Raws selects the batches of records, of some feeds if any are given.
func Raws(tenant string, feeds ...string) Selection {
	if len(feeds) == 0 {
		return selected(StreamRaw, rawPrefix+tenant+".>")
	}
	s := Selection{stream: StreamRaw}
	for _, f := range feeds {
		s.filters = append(s.filters, rawSubject(tenant, f))
	}
	return s
}

// Events selects the batches of rows, of some tables if any are given.
func Events(tenant string, tables ...string) Selection {
	if len(tables) == 0 {
		return selected(StreamEvents, eventPrefix+tenant+".>")
	}
	s := Selection{stream: StreamEvents}
	for _, t := range tables {
		s.filters = append(s.filters, eventSubject(tenant, t))
	}
	return s
}

// Dead selects the dead letters of one stage.
func Dead(tenant, stage string) Selection {
	return selected(StreamDead, deadPrefix+token(tenant)+"."+token(stage)+".>")
}

func selected(stream, filter string) Selection {
	return Selection{stream: stream, filters: []string{filter}}
}

// DeadLetters selects the dead letters of all tenants and stages.
func DeadLetters() Selection { return selected(StreamDead, deadPrefix+">") }

// Scan visits what is stored, oldest first, until visit returns false. It visits all that the
// leader of the stream had when the scan began, or ends with an error: a replica that is behind is
// asked again until it has that much. What is stored later is not visited.
func (b *Bus) Scan(ctx context.Context, s Selection, visit func(Stored) (bool, error)) error {
	usage, err := b.Usage(ctx, s.stream)
	if err != nil {
		return err
	}
	first, last := max(s.first, usage.First, 1), usage.Last
	if s.last > 0 {
		last = min(last, s.last)
	}
	if s.first == 0 && !s.since.IsZero() {
		if first, err = b.SequenceAt(ctx, s.stream, s.since); err != nil {
			return err
		}
	}
	var sources []iter.Seq2[Stored, error]
	for _, filter := range slices.Compact(slices.Sorted(slices.Values(s.filters))) {
		sources = append(sources, b.messages(ctx, s.stream, filter, first, last))
	}
	for m, err := range inOrder(sources) {
		if err != nil {
			return fmt.Errorf("scan %s: %w", s.stream, err)
		}
		more, err := visit(m)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// inOrder joins messages that are in order of their sequences.
func inOrder(sources []iter.Seq2[Stored, error]) iter.Seq2[Stored, error] {
	if len(sources) == 1 {
		return sources[0]
	}
	return func(yield func(Stored, error) bool) {
		type source struct {
			next  func() (Stored, error, bool)
			first Stored
		}
		var open []*source
		advance := func(s *source) (ok bool) {
			m, err, more := s.next()
			if err != nil {
				yield(m, err)
				return false
			}
			s.first = m
			if !more {
				open = slices.DeleteFunc(open, func(o *source) bool { return o == s })
			}
			return true
		}
		for _, seq := range sources {
			next, stop := iter.Pull2(seq)
			defer stop()
			open = append(open, &source{next: next})
		}
		for _, s := range slices.Clone(open) {
			if !advance(s) {
				return
			}
		}
		for len(open) > 0 {
			s := slices.MinFunc(open, func(x, y *source) int { return cmp.Compare(x.first.Sequence, y.first.Sequence) })
			if !yield(s.first, nil) || !advance(s) {
				return
			}
		}
	}
}

// messages gives those of a filter from one sequence to another, both included, as the leader of
// the stream had them when it was called.
func (b *Bus) messages(ctx context.Context, stream, filter string, first, last uint64) iter.Seq2[Stored, error] {
	return func(yield func(Stored, error) bool) {
		d, err := b.direct(stream)
		if err != nil {
			yield(Stored{}, err)
			return
		}
		defer d.end()
		progress, batch := time.Now(), pageMessages
		for r := (rest{filter, first, last}); r.next <= last; {
			before := r.next
			err = nil
			for m, failed := range d.ask(ctx, directRequest{Seq: r.next, NextFor: filter, Batch: batch, MaxBytes: pageBytes}) {
				if err = failed; err != nil {
					break
				}
				if m.Sequence > last {
					return
				}
				if r.next = m.Sequence + 1; !yield(m.Stored, nil) {
					return
				}
				progress = time.Now() // the visitor takes its time
			}
			if batch = pageMessages; errors.Is(err, ErrIncomplete) {
				batch = 1 // of several messages with garbled headers the server says no sequences
			}
			more, err := b.proceed(ctx, d, err, r)
			if err == nil && more && r.next == before {
				err = fmt.Errorf("%w: the server says that more comes, and gives nothing", ErrIncomplete)
			}
			switch {
			case err != nil && (!repeatable(err) || ctx.Err() != nil || time.Since(progress) > lagPatience):
				yield(Stored{}, err)
				return
			case err == nil && !more:
				return
			case r.next == before:
				backoff.Sleep(ctx, lagPause)
			}
		}
	}
}

// rest is what of a filter is still to be read, both sequences included.
type rest struct {
	filter     string
	next, last uint64
}

// proceed judges how an answer ended: whether more of the filter comes behind it.
func (b *Bus) proceed(ctx context.Context, d *direct, ended error, r rest) (more bool, err error) {
	switch {
	case ended == nil && d.pending > 0:
		return true, nil
	case ended != nil && !errors.Is(ended, ErrNotFound):
		return false, ended
	}
	at, err := b.leaderNext(ctx, d.stream, r.filter, r.next, time.Time{})
	switch {
	case errors.Is(err, ErrNotFound) || err == nil && at > r.last:
		return false, nil
	case err == nil:
		err = fmt.Errorf("%w: no server that was asked has message %d, which its leader has", ErrIncomplete, at)
	}
	return false, err
}

// repeatable reports whether a request may be answered when it is repeated.
func repeatable(err error) bool { return transient(err) || errors.Is(err, ErrIncomplete) }
