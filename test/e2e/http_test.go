package e2e_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/tapsim"
)

const httpToken = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"

// overHTTP makes a pipeline send to the sink's HTTP ingestion.
func (w *world) overHTTP(t *testing.T) []string {
	t.Helper()
	server := httptest.NewServer(w.sink.Ingest("corp", httpToken))
	t.Cleanup(server.Close)
	return []string{"SINK=devo-http", "DEVO_HTTP_URL=" + server.URL, "DEVO_HTTP_INSECURE=true", "DEVO_HTTP_DOMAIN=corp", "DEVO_HTTP_TOKEN=" + httpToken, "DEVO_HTTP_TIMEOUT=5s"}
}

// TestHTTPDeliversThroughFaults: refusals, broken connections and lost answers cost repetitions
// with the same id, and no row; the token is in no log line.
func TestHTTPDeliversThroughFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *tapsim.Config) { c.Factor, c.Rate, c.Age = 1, 2, time.Hour })
	for _, f := range []devosink.Fault{
		{Kind: devosink.FaultStatus, Bytes: 503, Count: 2},
		{Kind: devosink.FaultStatus, Bytes: 429, Delay: time.Second, Count: 1},
		{Kind: devosink.FaultStatus, Bytes: 401, Count: 1},
		{Kind: devosink.FaultReset, Count: 2},
		{Kind: devosink.FaultLost, Count: 3},
		{Kind: devosink.FaultStatus, Bytes: 308, Count: 1},
	} {
		if err := w.sink.Inject(f); err != nil {
			t.Fatal(err)
		}
	}
	at := w.sim.Now().Add(-2 * time.Minute)
	p := w.run(t, w.overHTTP(t)...)
	have := w.complete(t, at)
	w.expanded(t, at)
	for key, d := range have {
		if len(d.ids) != 1 {
			t.Errorf("%s has %d ids", key, len(d.ids))
		}
	}
	if w.sink.Snapshot().Duplicates == 0 {
		t.Error("no answer was lost; the test proves nothing")
	}
	if p.logs.count("the sink does not take rows") == 0 || p.logs.count("the sink takes rows again") == 0 {
		t.Error("the outage was not told")
	}
	p.stop()
	if strings.Contains(p.logs.String(), httpToken) {
		t.Errorf("the token is in the log:\n%s", p.logs)
	}
}
