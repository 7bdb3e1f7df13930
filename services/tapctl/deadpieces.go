package tapctl

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// maxPieces bounds how far behind a piece the next one is looked for: those of other jobs may lie
// between.
const maxPieces = 10_000

// through names a piece and all before it: the piece that follows has it.
func through(l *taplinev1.DeadLetter) string {
	sum := sha256.Sum256(slices.Concat(l.GetFollows(), l.GetPayload()))
	return string(sum[:])
}

// whole joins a letter with the pieces that follow it.
func whole(ctx context.Context, b *bus.Bus, stored bus.Stored) (deadLetter, error) {
	d := deadLetter{DeadLetter: &taplinev1.DeadLetter{}, stored: stored, sequences: []uint64{stored.Sequence}}
	if err := wire.Unmarshal(stored.Data, d.DeadLetter); err != nil {
		return d, fmt.Errorf("dead letter %d: %w", stored.Sequence, err)
	}
	if !d.GetMore() {
		return d, nil
	}
	usage, err := b.Usage(ctx, bus.StreamDead)
	if err != nil {
		return d, err
	}
	wanted, more := through(d.DeadLetter), true
	for at := stored.Sequence + 1; more && at <= min(usage.Last, stored.Sequence+maxPieces); at++ {
		message, err := b.Message(ctx, bus.StreamDead, at)
		if errors.Is(err, bus.ErrNotFound) {
			continue
		}
		if err != nil {
			return d, err
		}
		piece := &taplinev1.DeadLetter{}
		if err := wire.Unmarshal(message.Data, piece); err != nil || string(piece.GetFollows()) != wanted {
			continue // of something else
		}
		wanted, more = through(piece), piece.GetMore()
		d.Payload = append(d.Payload, piece.GetPayload()...)
		d.sequences = append(d.sequences, at)
	}
	return d, nil
}

// tail is what follows a piece.
type tail struct{ pieces, bytes int }

// pieces knows the tails that were met, by what each of them follows.
type pieces struct{ tails map[string]tail }

// join takes the letters, the newest first. It gives what follows a letter, and whether it begins a
// record: other pieces are shown with the first.
func (p *pieces) join(l *taplinev1.DeadLetter) (t tail, first bool) {
	if l.GetMore() {
		key := through(l)
		t = p.tails[key]
		delete(p.tails, key)
	}
	if l.GetPart() <= 1 {
		return t, true
	}
	if p.tails == nil {
		p.tails = make(map[string]tail)
	}
	p.tails[string(l.GetFollows())] = tail{t.pieces + 1, t.bytes + len(l.GetPayload())}
	return t, false
}
