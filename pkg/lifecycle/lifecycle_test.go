package lifecycle_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/tapline/tapline/pkg/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder makes parts that record when they end.
type recorder struct {
	mu    sync.Mutex
	ended []string
}

func (r *recorder) part(name string, err error, started chan<- struct{}) lifecycle.Part {
	return lifecycle.Part{Name: name, Run: func(ctx context.Context) error {
		if started != nil {
			started <- struct{}{}
		}
		if err == nil {
			<-ctx.Done()
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ended = append(r.ended, name)
		return err
	}}
}

func TestStopsInReverse(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan struct{}, 3)
	var r recorder
	done := make(chan error)
	go func() {
		done <- lifecycle.Run(ctx, r.part("shipper", nil, started), r.part("fetcher", nil, started), r.part("scheduler", nil, started))
	}()
	for range 3 {
		<-started
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if want := []string{"scheduler", "fetcher", "shipper"}; !slices.Equal(r.ended, want) {
		t.Errorf("ended %v, want %v", r.ended, want)
	}
}

func TestOneFailureEndsAll(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	var r recorder
	err := lifecycle.Run(t.Context(), r.part("shipper", nil, nil), r.part("fetcher", broken, nil), r.part("scheduler", nil, nil))
	if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "fetcher: ") {
		t.Errorf("%v", err)
	}
	if len(r.ended) != 3 {
		t.Errorf("ended %v", r.ended)
	}
}

func TestNothingToRun(t *testing.T) {
	t.Parallel()
	if err := lifecycle.Run(t.Context()); err != nil {
		t.Error(err)
	}
}
