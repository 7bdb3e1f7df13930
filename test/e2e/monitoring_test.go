package e2e_test

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/test/repo/reference"
)

// TestRulesAndDashboardAskForWhatIsServed: every metric that a rule of Prometheus or a
// panel of the dashboard names is served by a running pipeline, or at least registered
// by it when it has had no reason for a series yet.
func TestRulesAndDashboardAskForWhatIsServed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	p := w.run(t)
	w.complete(t, w.sim.Now())
	poll(t, "an audit that tells freshness", func() bool { return slices.Contains(scrape(t, p.metrics), "tapline_freshness_seconds") })
	served, registered := scrape(t, p.metrics), describe(p.metrics)
	if len(served) < 40 || len(registered) < 40 {
		t.Fatalf("only %d metrics are served and %d registered", len(served), len(registered))
	}
	// What only misfortune or an order makes a series of.
	rare := []string{
		"tapline_alarm", "tapline_fetcher_late_records_total", "tapline_fetcher_lateness_seconds", "tapline_shipper_last_lag_seconds",
		"tapline_replay_active", "tapline_replay_rows_total", "tapline_replay_progress_ratio",
	}
	queries, err := reference.Dashboard("../..")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := reference.Rules("../..")
	if err != nil {
		t.Fatal(err)
	}
	recorded := map[string]bool{"up": true, "ALERTS": true} // made by Prometheus itself
	for _, r := range rules {
		queries = append(queries, reference.Query{Where: r.Name(), Expr: r.Expr})
		recorded[r.Record] = true
	}
	known := func(name string) bool { return slices.Contains(served, name) }
	for _, q := range queries {
		selectors, _ := reference.Selectors(q.Expr)
		for _, s := range selectors {
			name := reference.Family(s.Metric, known)
			exists := known(name) || recorded[name] || slices.Contains(rare, name) && slices.Contains(registered, name)
			if !exists {
				t.Errorf("%s asks for %s, which is not served", q.Where, s.Metric)
			}
		}
	}
}

// scrape asks for /metrics as Prometheus does, and lists the metrics that have a series.
func scrape(tb testing.TB, metrics prometheus.Gatherer) []string {
	tb.Helper()
	server := httptest.NewServer(telemetry.Handler(telemetry.NewHealth(), metrics))
	defer server.Close()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, server.URL+"/metrics", http.NoBody)
	if err != nil {
		tb.Fatal(err)
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	var names []string
	lines := bufio.NewReader(resp.Body)
	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			tb.Fatal(err)
		}
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, _, _ := strings.Cut(rest, " ")
			names = append(names, name)
		}
	}
}

// describe lists what is registered, with a series or without.
func describe(registry *prometheus.Registry) []string {
	descs := make(chan *prometheus.Desc)
	go func() {
		registry.Describe(descs)
		close(descs)
	}()
	var names []string
	for d := range descs {
		_, rest, _ := strings.Cut(d.String(), `fqName: "`)
		name, _, _ := strings.Cut(rest, `"`)
		names = append(names, name)
	}
	return names
}
