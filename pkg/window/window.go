package window

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Limits of one SIEM call, from Proofpoint's SIEM API documentation; the
// seven days are measured on Proofpoint's clock.
const (
	MinSpan  = 30 * time.Second
	MaxSpan  = time.Hour
	Lookback = 7 * 24 * time.Hour
)

// compact is how a time stands in job ids, subjects and keys: no character in
// it is special to any of them.
const compact = "20060102T150405Z"

// ErrMalformed is wrapped by the errors of [ParseTime] and [FromProto].
var ErrMalformed = errors.New("malformed window")

// Window is the half-open interval [Start, End) in UTC, whole seconds.
type Window struct {
	Start, End time.Time
}

// New is the window [start, end), both in UTC and cut to whole seconds.
func New(start, end time.Time) Window {
	return Window{start.UTC().Truncate(time.Second), end.UTC().Truncate(time.Second)}
}

// Span is the length of the window.
func (w Window) Span() time.Duration { return w.End.Sub(w.Start) }

// Empty reports whether nothing lies inside the window.
func (w Window) Empty() bool { return !w.Start.Before(w.End) }

// Interval is the window as Proofpoint's interval parameter wants it: ISO 8601
// start and end with a slash between.
func (w Window) Interval() string {
	return w.Start.UTC().Format(time.RFC3339) + "/" + w.End.UTC().Format(time.RFC3339)
}

// String is [Window.Interval].
func (w Window) String() string { return w.Interval() }

// Compact writes the window as "<start><sep><end>" with compact times such as
// 20260311T081500Z.
func (w Window) Compact(sep string) string {
	return w.Start.UTC().Format(compact) + sep + w.End.UTC().Format(compact)
}

// ParseTime reads one compact time.
func ParseTime(s string) (time.Time, error) {
	t, err := time.Parse(compact, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: time %q: want the form %s", ErrMalformed, s, compact)
	}
	return t, nil
}

// ParseCompact reads what [Window.Compact] wrote.
func ParseCompact(s, sep string) (Window, error) {
	from, to, ok := strings.Cut(s, sep)
	if !ok {
		return Window{}, fmt.Errorf("%w: %q: want <start>%s<end>", ErrMalformed, s, sep)
	}
	start, err := ParseTime(from)
	if err != nil {
		return Window{}, err
	}
	end, err := ParseTime(to)
	if err != nil {
		return Window{}, err
	}
	return Window{start, end}, nil
}

// Proto is the window as it crosses the bus.
func (w Window) Proto() *taplinev1.Window {
	return &taplinev1.Window{Start: timestamppb.New(w.Start), End: timestamppb.New(w.End)}
}

// FromProto reads a window that crossed the bus. It refuses one that is
// missing, empty or has fractions of a second.
func FromProto(p *taplinev1.Window) (Window, error) {
	if p.GetStart().CheckValid() != nil || p.GetEnd().CheckValid() != nil {
		return Window{}, fmt.Errorf("%w: start or end missing or out of range", ErrMalformed)
	}
	start, end := p.GetStart().AsTime(), p.GetEnd().AsTime()
	w := New(start, end)
	if w.Empty() || !w.Start.Equal(start) || !w.End.Equal(end) {
		return Window{}, fmt.Errorf("%w: %s to %s: want whole seconds and an end after the start", ErrMalformed, start, end)
	}
	return w, nil
}

// Halves cuts the window in two at a whole second. It reports false when a half
// would be shorter than [MinSpan], the shortest interval Proofpoint serves.
func (w Window) Halves() (first, second Window, ok bool) {
	half := (w.Span() / 2).Truncate(time.Second)
	if half < MinSpan {
		return Window{}, Window{}, false
	}
	middle := w.Start.Add(half)
	return Window{w.Start, middle}, Window{middle, w.End}, true
}
