package shipper_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/shipper"
	"github.com/tapline/tapline/services/shipper/internal/devohttp"
)

// TestOneBadBackendDeadLettersNothing: connections go to two backends in turn, of which one refuses
// everything for a while. Other workers and other batches are taken meanwhile, which proves nothing
// against the rows.
func TestOneBadBackendDeadLettersNothing(t *testing.T) {
	t.Parallel()
	for name, down := range map[string]time.Duration{"short": 2 * time.Second, "long": 6 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sink, err := devosink.New(devosink.Config{Mode: devosink.Full})
			if err != nil {
				t.Fatal(err)
			}
			good := sink.Ingest("corp", httpToken)
			var mu sync.Mutex
			backend := make(map[string]int)
			var refused atomic.Int64
			var began time.Time
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				if began.IsZero() {
					began = time.Now()
				}
				n, known := backend[r.RemoteAddr]
				if !known {
					n = len(backend)
					backend[r.RemoteAddr] = n
				}
				bad := n%2 == 1 && time.Since(began) < down
				mu.Unlock()
				if bad {
					refused.Add(1)
					_, _ = io.Copy(io.Discard, r.Body)
					http.Error(w, "bad request", http.StatusBadRequest)
					return
				}
				good.ServeHTTP(w, r)
			}))
			t.Cleanup(func() {
				server.Close()
				_ = sink.Close()
			})
			b := bustest.Start(t)
			fill(t, b, 0, 40, 25)
			environ := append(slices.Clone(proofs["http"]), "DEVO_HTTP_URL="+server.URL, "DEVO_HOSTNAME=collector-1", "SHIPPER_CONNECTIONS=2")
			begin(t, b, nil, environ)
			settled(t, b)
			trial{}.compare(t, sink, wanted(1000, "Grüße"))
			if n := len(deadLetters(t, b)); n > 0 {
				t.Errorf("%d good rows are in DEAD", n)
			}
			if refused.Load() == 0 {
				t.Error("nothing was refused")
			}
		})
	}
}

var errBroken = errors.New("the connection broke")

// breaking is a connection that breaks once after a batch was sent, before it is confirmed.
type breaking struct {
	*devohttp.Conn
	once *sync.Once
}

func (c breaking) Confirm(ctx context.Context) (n int, err error) {
	c.once.Do(func() { err = errBroken })
	if err != nil {
		return 0, err
	}
	return c.Conn.Confirm(ctx)
}

// TestARefusedRowIsCountedOnce also if the session ends after the refusal, and the batch is resent.
func TestARefusedRowIsCountedOnce(t *testing.T) {
	t.Parallel()
	_, environ := web(t, devosink.Fault{Kind: devosink.FaultRefuseText, Text: "poison"})
	var c shipper.Config
	if err := config.Load(&c, environ); err != nil {
		t.Fatal(err)
	}
	dialer, err := devohttp.NewDialer(c.HTTP, "collector-1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dialer.Close() })
	b := bustest.Start(t)
	e := batch.Events{Tenant: "main", Table: table, Feed: "clicksBlocked", JobID: "job", SourceSequence: 1}
	for i, text := range []string{"fine", "poison", "fine", "poison", "fine"} {
		e.Events = append(e.Events, batch.Event{PullMS: pulled, JSON: []byte(rowWith(i, text))})
	}
	publish(t, b, &e)
	var once sync.Once
	r := launch(t, shipper.Deps{Bus: b}, append(environ, "SHIPPER_CONNECTIONS=1"), func(ctx context.Context) (shipper.Conn, error) {
		conn, err := dialer.Open(ctx)
		if err != nil {
			return nil, err
		}
		return breaking{conn, &once}, nil
	})
	settled(t, b)
	if rows := r.value(t, "tapline_shipper_events_confirmed_total"); rows != 3 {
		t.Errorf("%v rows are confirmed, want 3", rows)
	}
	if failures := r.value(t, "tapline_shipper_connection_failures_total"); failures != 1 {
		t.Errorf("%v connections failed, want 1", failures)
	}
	if n := len(deadLetters(t, b)); n != 2 {
		t.Errorf("%d letters, want 2", n)
	}
}
