package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/printable"
)

// NewRegistry is a registry with the Go runtime's and the process's metrics.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Handler serves /livez, /readyz and /metrics.
func Handler(h *Health, metrics prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	probe := func(good func(Report) bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			report := h.Report()
			w.Header().Set("Content-Type", "application/json")
			if !good(report) {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			_ = json.NewEncoder(printable.NewWriter(w)).Encode(report) // it repeats words of others, and is read on terminals
		}
	}
	mux.HandleFunc("GET /livez", probe(func(r Report) bool { return r.Alive }))
	mux.HandleFunc("GET /readyz", probe(func(r Report) bool { return r.Ready && r.Alive }))
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	return mux
}

// Serve answers on the configured address until the returned function is
// called. With the address "off" it listens nowhere.
func Serve(ctx context.Context, c Config, handler http.Handler) (stop func(), err error) {
	if c.HTTPAddr == Off {
		return func() {}, nil
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", c.HTTPAddr)
	if err != nil {
		return nil, &config.ProblemError{Variable: "HTTP_ADDR", Value: c.HTTPAddr, Reason: "cannot listen: " + err.Error()}
	}
	server := NewServer(handler)
	server.WriteTimeout = ReadTimeout // all answers are short
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(Bounded(ln, MaxConnections)) // ends with ErrServerClosed, and only so
	}()
	return func() {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if err := server.Shutdown(bounded); err != nil {
			_ = server.Close() // a scraper that hangs must not hold the exit
		}
		<-done
	}, nil
}

// CheckProbe asks a probe of a running service, for container health checks.
func CheckProbe(ctx context.Context, addr, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("address %q: %w", addr, err)
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+path, http.NoBody)
	if err != nil {
		return fmt.Errorf("ask %s: %w", path, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", path, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %w: %s", path, errProbe, resp.Status)
	}
	return nil
}

var errProbe = errors.New("probe failed")
