package shipper_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/services/devosink"
)

// TestOneBadBackendBuriesNothing: connections go to two backends in turn, of which one refuses everything for a while. Other lanes
// and other batches are taken meanwhile, which proves nothing against the rows.
func TestOneBadBackendBuriesNothing(t *testing.T) {
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
			if n := len(letters(t, b)); n > 0 {
				t.Errorf("%d good rows are in DEAD", n)
			}
			if refused.Load() == 0 {
				t.Error("nothing was refused")
			}
		})
	}
}
