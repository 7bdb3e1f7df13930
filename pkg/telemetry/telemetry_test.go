package telemetry_test

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/tapline/tapline/pkg/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ask(t *testing.T, h http.Handler, path string) (int, telemetry.Report) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	var r telemetry.Report
	if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return w.Code, r
}

func TestProbes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := telemetry.NewHealth()
		handler := telemetry.Handler(h, telemetry.NewRegistry())
		expect := func(live, ready int) telemetry.Report {
			t.Helper()
			l, _ := ask(t, handler, "/livez")
			r, report := ask(t, handler, "/readyz")
			if l != live || r != ready {
				t.Errorf("live %d, ready %d: %+v", l, r, report)
			}
			return report
		}
		expect(200, 200)
		h.NotReady("bus", "starting")
		if r := expect(200, 503); r.NotReady["bus"] != "starting" {
			t.Errorf("%+v", r)
		}
		h.Degraded("bus", "slow") // degraded is ready
		h.Degraded("sink", "refuses")
		if r := expect(200, 200); r.Degraded["sink"] != "refuses" || r.Degraded["bus"] != "slow" {
			t.Errorf("%+v", r)
		}
		h.OK("bus")
		h.OK("sink")
		if r := expect(200, 200); len(r.Degraded) != 0 {
			t.Errorf("%+v", r)
		}
		h.Turn("loop", time.Minute)
		<-time.After(time.Minute) // the time of a bubble
		expect(200, 200)
		<-time.After(time.Second)
		if r := expect(503, 503); r.Stuck["loop"] != "1m1s" {
			t.Errorf("%+v", r)
		}
		h.Turn("loop", 0)
		expect(200, 200)
		lost := h.Connection("nats")
		lost(false)
		expect(200, 503)
		lost(true)
		expect(200, 200)
	})
}

func TestServeAndCheck(t *testing.T) {
	t.Parallel()
	h := telemetry.NewHealth()
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // only to find a free port
	if err != nil {
		t.Fatal(err)
	}
	c := telemetry.Config{HTTPAddr: ln.Addr().String()}
	if _, err := telemetry.Serve(t.Context(), c, telemetry.Handler(h, telemetry.NewRegistry())); err == nil || !strings.Contains(err.Error(), "HTTP_ADDR") {
		t.Errorf("an address in use: %v", err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	stop, err := telemetry.Serve(t.Context(), c, telemetry.Handler(h, telemetry.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	if err := telemetry.CheckProbe(t.Context(), c.HTTPAddr, "/readyz"); err != nil {
		t.Error(err)
	}
	h.NotReady("x", "y")
	if err := telemetry.CheckProbe(t.Context(), c.HTTPAddr, "/readyz"); err == nil {
		t.Error("an unready service passes")
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	if err := telemetry.CheckProbe(t.Context(), c.HTTPAddr, "/livez"); err == nil {
		t.Error("a stopped service passes")
	}
}
