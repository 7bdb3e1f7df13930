// Package backoff has the two waits that everything shares: a sleep that ends with its context, and
// a delay that doubles with each failure in a row.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Sleep waits for d or until ctx ends. It reports whether ctx has not ended.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	return ctx.Err() == nil
}

// Doubling is a delay that begins with Min and doubles with each further failure, up to Max.
type Doubling struct {
	Min, Max time.Duration
	// Jitter is the share, 0 to 1, of a delay that chance may take away. It keeps many that failed
	// together from returning together.
	Jitter float64
}

// After is the delay after so many failures in a row. None counts as one.
func (b Doubling) After(failures int) time.Duration {
	d := b.Min
	for ; failures > 1 && d < b.Max; failures-- {
		d *= 2
	}
	d = min(d, b.Max)
	return d - time.Duration(b.Jitter*rand.Float64()*float64(d)) //nolint:gosec // jitter needs no secrecy
}
