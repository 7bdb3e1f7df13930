// Package lifecycle runs the parts of a program together: it starts them in order, ends all of them
// when one fails or the program is to stop, and stops them in reverse order, each waiting for the
// one before, so that what feeds a pipe stops before what drains it.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Part is something that runs until its context ends. It returns nil when it
// was asked to stop.
type Part struct {
	Name string
	Run  func(ctx context.Context) error
}

// ended is what a part returned.
type ended struct {
	part int
	err  error
}

// Run starts the parts in the order given and returns when all have ended. The
// error names the parts that failed.
func Run(ctx context.Context, parts ...Part) error {
	ends := make(chan ended, len(parts))
	stops := make([]context.CancelFunc, len(parts))
	for i, p := range parts {
		// Each part is stopped on its own, in its turn.
		own, stop := context.WithCancel(context.WithoutCancel(ctx))
		defer stop()
		stops[i] = stop
		go func() { ends <- ended{i, p.Run(own)} }()
	}
	over := make([]bool, len(parts))
	var problems []error
	note := func(e ended) {
		over[e.part] = true
		if e.err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", parts[e.part].Name, e.err))
		}
	}
	running := len(parts)
	if running > 0 {
		select {
		case <-ctx.Done():
		case e := <-ends:
			note(e)
		}
	}
	for i := range slices.Backward(parts) {
		stops[i]()
		for !over[i] {
			note(<-ends)
		}
	}
	return errors.Join(problems...)
}

// Stopped turns the error of something that was interrupted because ctx ended into nil: a requested
// stop is not a failure. Any other error stays.
func Stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}
