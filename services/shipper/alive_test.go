package shipper_test

import (
	"context"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/shipper"
)

// alive looks once a minute whether the probe would have the process ended.
func (r running) alive(t *testing.T, d time.Duration) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		<-time.After(time.Minute) // the time of a bubble
		if report := r.health.Report(); !report.Alive {
			t.Fatalf("%s before the end: not alive: %v", time.Until(end), report.Stuck)
		}
	}
}

// idly is a time of a bubble, and a sixth of it in the short tier: more than any limit of the
// probe.
func idly(d time.Duration) time.Duration {
	if testing.Short() {
		return d / 6
	}
	return d
}

// TestIdleIsAlive: hours without a row are no reason to end a process, whatever the sink, and the
// next row finds it working.
func TestIdleIsAlive(t *testing.T) {
	t.Parallel()
	for _, sink := range []string{"SINK=file", "SINK=devo-http"} {
		t.Run(sink, func(t *testing.T) {
			t.Parallel()
			stand, err := devosink.New(devosink.Config{Mode: devosink.Full})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = stand.Close() })
			server := httptest.NewUnstartedServer(stand.Ingest("corp", httpToken))
			server.Config.SetKeepAlivesEnabled(false) // see bustest.Bubble
			server.Start()
			t.Cleanup(server.Close)
			bustest.Bubble(t, func(t *testing.T, b *bus.Bus) {
				t.Helper()
				r := begin(t, b, nil, append(proofs["http"], "DEVO_HTTP_URL="+server.URL, "SHIPPER_CONNECTIONS=1", sink, "SINK_FILE_PATH="+filepath.Join(t.TempDir(), "rows")))
				r.alive(t, idly(2*time.Hour))
				fill(t, b, 0, 1, 10)
				settled(t, b)
				r.alive(t, 10*time.Minute)
			})
		})
	}
}

// TestOutageIsNoStandstill: a sink that refuses, or asks for a pause of minutes, is nothing that a
// restart mends.
func TestOutageIsNoStandstill(t *testing.T) {
	t.Parallel()
	t.Run("refuses", func(t *testing.T) {
		t.Parallel()
		sink, environ := relay(t, devosink.Count)
		_ = sink.Close()
		bustest.Bubble(t, func(t *testing.T, b *bus.Bus) {
			t.Helper()
			fill(t, b, 0, 4, 10)
			r := begin(t, b, nil, environ)
			r.alive(t, idly(time.Hour))
			if _, told := r.health.Report().Degraded["sink"]; !told {
				t.Error("the outage does not show")
			}
		})
	})
	t.Run("asks for a pause", func(t *testing.T) {
		t.Parallel()
		bustest.Bubble(t, func(t *testing.T, b *bus.Bus) {
			t.Helper()
			fill(t, b, 0, 4, 10)
			r := launch(t, shipper.Deps{Bus: b}, []string{"SINK=stdout"}, func(ctx context.Context) (shipper.Conn, error) {
				return nil, rest(ctx, 5*time.Minute)
			})
			r.alive(t, idly(time.Hour))
		})
	})
	t.Run("takes a batch in ten minutes", func(t *testing.T) {
		t.Parallel()
		bustest.Bubble(t, func(t *testing.T, b *bus.Bus) {
			t.Helper()
			fill(t, b, 0, 6, 10)
			r := launch(t, shipper.Deps{Bus: b}, []string{"SINK=stdout"}, func(context.Context) (shipper.Conn, error) {
				return &slow{sent: make(chan struct{}, 100), closed: make(chan struct{})}, nil
			})
			r.alive(t, time.Hour)
			settled(t, b)
		})
	})
}

func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return context.DeadlineExceeded
	}
}

// slow is a connection that takes ten minutes for each batch.
type slow struct {
	sent   chan struct{}
	closed chan struct{}
}

func (c *slow) Send(*batch.Events) error {
	select {
	case <-time.After(10 * time.Minute):
		c.sent <- struct{}{}
		return nil
	case <-c.closed:
		return context.Canceled
	}
}

func (c *slow) Confirm(ctx context.Context) (int, error) {
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-c.sent:
		return 1, nil
	}
}

func (c *slow) Wait(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (c *slow) Close() {
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
}

// stuck is a bus that never answers when a row is to go to DEAD, whatever the context says.
type stuck struct {
	*bus.Bus
	release chan struct{}
}

func (s stuck) PublishDead(context.Context, *taplinev1.DeadLetter, string) error {
	<-s.release
	return context.Canceled
}

// TestStandstillShows: a worker that waits for nothing outside and makes no progress is stuck, and
// that shows.
func TestStandstillShows(t *testing.T) {
	t.Parallel()
	bustest.Bubble(t, func(t *testing.T, b *bus.Bus) {
		t.Helper()
		publish(t, b, &batch.Events{Tenant: "stranger", Table: table, SourceSequence: 1})
		release := make(chan struct{})
		r := launch(t, shipper.Deps{Bus: stuck{b, release}, Stdout: &output{}}, []string{"SINK=stdout"}, nil)
		<-time.After(2 * time.Minute)
		if report := r.health.Report(); report.Alive {
			t.Errorf("a lane that stands still is alive: %+v", report)
		}
		close(release)
	})
}
