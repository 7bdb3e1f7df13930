package overview

import (
	"context"
	"fmt"
	"time"

	"github.com/tapline/tapline/pkg/bus"
)

// measured is the time of which the rate of a stream is taken.
const measured = time.Hour

// Stream is how full a stream is.
type Stream struct {
	Name     string    `json:"name"`
	Messages uint64    `json:"messages"`
	Bytes    uint64    `json:"bytes"`
	MaxBytes int64     `json:"max_bytes"` // -1 for no limit
	Oldest   time.Time `json:"oldest"`    // how far back it reaches: rows of EVENTS can be replayed from there, records of RAW reprocessed
	// Rate is bytes in an hour, as of the last hour; 0 for a stream that keeps nothing for long.
	Rate float64 `json:"bytes_per_hour"`
	// FullIn is hours until it is full at this rate; 0 if it never is, since what is older than
	// eight days goes.
	FullIn float64 `json:"full_in_hours"`
}

// streams go by the wall clock: that is what the server keeps messages by.
func (r *Reader) streams(ctx context.Context, s *Status, _ []set) error {
	for _, name := range []string{bus.StreamJobs, bus.StreamRaw, bus.StreamEvents, bus.StreamDead} {
		u, err := r.src.Usage(ctx, name)
		if err != nil {
			return fmt.Errorf("overview: %w", err)
		}
		stream := Stream{Name: name, Messages: u.Messages, Bytes: u.Bytes, MaxBytes: u.MaxBytes, Oldest: u.Oldest}
		if (name == bus.StreamRaw || name == bus.StreamEvents) && u.Messages > 0 {
			now := time.Now()
			first, err := r.src.SequenceAt(ctx, name, now.Add(-measured))
			if err != nil {
				return fmt.Errorf("overview: %w", err)
			}
			stream.forecast(u, first, now)
		}
		s.Streams = append(s.Streams, stream)
	}
	return nil
}

// forecast takes the rate from the messages from first on, which are those of the last hour.
func (s *Stream) forecast(u bus.Usage, first uint64, now time.Time) {
	span := min(now.Sub(u.Oldest), measured).Hours()
	if first > u.Last || span <= 0 {
		return
	}
	messages := float64(u.Last - max(first, u.First) + 1)
	s.Rate = messages / span * float64(u.Bytes) / float64(u.Messages)
	room := float64(u.MaxBytes) - float64(u.Bytes)
	if u.MaxBytes <= 0 || s.Rate*bus.Horizon.Hours() <= float64(u.MaxBytes) {
		return
	}
	s.FullIn = max(room/s.Rate, 0.1) // 0 says never
}
