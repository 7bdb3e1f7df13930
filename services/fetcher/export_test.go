package fetcher

import (
	"time"

	"github.com/tapline/tapline/services/fetcher/internal/pace"
)

// Hasten makes waits after failures shorter.
func (f *Fetcher) Hasten(factor time.Duration) {
	f.scale = func(d time.Duration) time.Duration { return d / factor }
	f.breakers = pace.NewBreakers(time.Now, f.scale)
}
