package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tapline/tapline/pkg/backoff"
)

const conflictTries = 64

// conflictBackoff is short: a bucket with replicas may answer a read from one that is a moment
// behind, so that reading at once would lose to the same writer once more.
var conflictBackoff = backoff.Doubling{Min: 2 * time.Millisecond, Max: 64 * time.Millisecond, Jitter: 1}

// RetryOnConflict is the loop of every compare-and-set: attempt reads, changes and writes, and is
// repeated with backoff as long as it returns [ErrConflict]. It gives up after two seconds or so,
// and when ctx ends.
func RetryOnConflict(ctx context.Context, attempt func() error) error {
	for tries := 1; ; tries++ {
		err := attempt()
		switch {
		case !errors.Is(err, ErrConflict):
			return err
		case tries == conflictTries:
			return fmt.Errorf("%d times in a row: %w", conflictTries, err)
		case !backoff.Sleep(ctx, conflictBackoff.After(tries)):
			return fmt.Errorf("%w (after: %s)", context.Cause(ctx), err.Error()) // which is no conflict
		}
	}
}
