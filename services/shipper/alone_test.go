package shipper

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/telemetry"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// nowhere takes alarms.
type nowhere struct{}

func (nowhere) Put(context.Context, string, []byte) error { return nil }

// TestAnOutageIsSaidNowAndThen: at its begin and every ten minutes, with how long it is, and no
// more often however often it is met.
func TestAnOutageIsSaidNowAndThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		log, r := slog.New(slog.NewTextHandler(&said, nil)), prometheus.NewRegistry()
		up := prometheus.NewGauge(prometheus.GaugeOpts{Name: "up", Help: "up"})
		r.MustRegister(up)
		up.Set(1)
		o := &outage{
			log: log, health: telemetry.NewHealth(), up: up,
			alarms: alarm.New(nowhere{}, "main", "shipper", slog.New(slog.DiscardHandler), alarm.Gauge(r)),
		}
		works := func() float64 {
			families, err := r.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				if f.GetName() == "up" {
					return f.GetMetric()[0].GetGauge().GetValue()
				}
			}
			return -1
		}
		o.recordSuccess(t.Context()) // there is no outage
		for range 25 {
			o.recordFailure(t.Context(), errors.New("refused"))
			<-time.After(time.Minute)
		}
		if n := strings.Count(said.String(), "the sink does not take rows"); n != 3 || !strings.Contains(said.String(), "for=20m0s") || works() != 0 {
			t.Errorf("in 25 minutes it is said %d times, want 3; up is %v: %s", n, works(), said.String())
		}
		if _, degraded := o.health.Report().Degraded["sink"]; !degraded {
			t.Error("health says nothing of it")
		}
		for range 2 {
			o.recordSuccess(t.Context())
		}
		if n := strings.Count(said.String(), "takes rows again"); n != 1 || !strings.Contains(said.String(), "after=25m0s") || works() != 1 || len(o.health.Report().Degraded) > 0 {
			t.Errorf("its end is said %d times, want 1; up is %v: %s", n, works(), said.String())
		}
		o.recordFailure(t.Context(), errors.New("refused"))
		if n := strings.Count(said.String(), "the sink does not take rows"); n != 4 {
			t.Errorf("with a second one it is said %d times, want 4", n)
		}
		o.recordSuccess(t.Context())
		<-time.After(time.Hour) // no timer of an alarm stays
	})
}

// TestLabelsAreOurTables: whatever EVENTS brings, there are no more series than tables.
func TestLabelsAreOurTables(t *testing.T) {
	t.Parallel()
	for _, f := range feed.All() {
		if got := label(f.Table()); got != f.Table() {
			t.Errorf("%s is labeled %s", f.Table(), got)
		}
	}
	if got := label("my.table"); got != "other" {
		t.Errorf("a table of others is labeled %s", got)
	}
}

// TestWhereTheRowsOfAnOrderGo: a file is never the one that everything else goes to.
func TestWhereTheRowsOfAnOrderGo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		usual, sink string
		copies      bool
	}{{"file", "", false}, {"file", "file", true}, {"stdout", "", false}, {"stdout", "stdout", false}, {"stdout", "file", true}, {"file", "stdout", true}} {
		var conf Config
		if err := config.Load(&conf, []string{"SINK=" + c.usual, "SINK_FILE_PATH=" + filepath.Join(t.TempDir(), "rows.jsonl")}); err != nil {
			t.Fatal(err)
		}
		s := &Shipper{cfg: conf, stdout: &bytes.Buffer{}}
		out, copies, err := s.sinkOf(&taplinev1.ReplayOrder{Id: "r", Sink: c.sink})
		if err != nil || copies != c.copies {
			t.Errorf("usually to %s, the order to %q: copies %t, %v", c.usual, c.sink, copies, err)
			continue
		}
		if err := out.close(); err != nil {
			t.Error(err)
		}
	}
}

// TestASinkThatCannotBeIsAnErrorAtOnce: before anything is taken from the bus.
func TestASinkThatCannotBeIsAnErrorAtOnce(t *testing.T) {
	t.Parallel()
	var conf Config
	if err := config.Load(&conf, []string{"SINK=stdout"}); err != nil {
		t.Fatal(err)
	}
	conf.Sink, conf.Devo.CertFile = SinkDevo, filepath.Join(t.TempDir(), "none.pem") // it was there a moment ago
	if _, err := New(conf, Deps{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()}); err == nil {
		t.Error("a certificate that is not there is no error")
	}
	s := &Shipper{cfg: conf}
	if err := s.startCanary(); err != nil || s.canary != nil {
		t.Errorf("a canary that is off: %v", err)
	}
	s.cfg.Canary.On = true
	if err := s.startCanary(); err == nil || s.canary != nil {
		t.Error("a canary without an address of Devo looks for rows")
	}
}
