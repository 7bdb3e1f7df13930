package bus

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	raceTries = 64
	// raceRest bounds one rest. A bucket with replicas may answer a read from one that is a moment behind, so
	// that reading again at once would lose again.
	raceRest = 64 * time.Millisecond
)

// Race paces a loop that reads a key, changes the value and writes it with [Bucket.Update], as long as that
// says [ErrConflict]. The zero value begins.
type Race struct{ lost int }

// Lost rests for a moment that grows with each race that was lost. It gives up after two seconds or so with
// [ErrConflict], and when ctx ends.
func (r *Race) Lost(ctx context.Context) error {
	if r.lost++; r.lost == raceTries {
		return fmt.Errorf("%w %d times in a row", ErrConflict, raceTries)
	}
	timer := time.NewTimer(rand.N(min(time.Millisecond<<min(r.lost, 10), raceRest))) //nolint:gosec // jitter needs no secrecy
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
