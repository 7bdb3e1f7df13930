package replay_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/services/enricher"
	"github.com/tapline/tapline/services/shipper"
	"github.com/tapline/tapline/services/tapctl"
)

// logs collects what programs log.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// TestReplayByUsersWithLeastRights: the server that is delivered denies nothing that orders take.
func TestReplayByUsersWithLeastRights(t *testing.T) {
	t.Parallel()
	server, said := bustest.StartGuarded(t, "../../../deploy/nats"), &logs{}
	p := &place{tb: t, dir: t.TempDir(), log: slog.New(slog.NewTextHandler(said, nil))}
	connect := func(user string) *bus.Bus {
		b, err := bus.Connect(t.Context(), server.As(user), user, p.log)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		return b
	}
	admin := server.As(bus.UserAdmin)
	order := func(args ...string) string {
		var out, err bytes.Buffer
		environ := []string{"NATS_URL=" + admin.URL, "NATS_USER=" + admin.User, "NATS_PASSWORD=" + admin.Password.Reveal()}
		if code := tapctl.Execute(t.Context(), tapctl.Process{Args: args, Environ: environ, Stdout: &out, Stderr: &err}); code != 0 {
			t.Fatalf("%v: status %d, %s", args, code, err.String())
		}
		return out.String()
	}
	order("setup")
	p.Bus = connect(bus.UserAdmin)
	pages, err := p.Bucket(t.Context(), bus.BucketLedger)
	if err != nil {
		t.Fatal(err)
	}
	p.book = ledger.New(pages)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 2)
	t.Cleanup(func() {
		stop()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	var sc shipper.Config
	var ec enricher.Config
	if err := config.Load(&sc, []string{"SINK=file", "SINK_FILE_PATH=" + p.live()}); err != nil {
		t.Fatal(err)
	}
	if err := config.Load(&ec, nil); err != nil {
		t.Fatal(err)
	}
	s, err := shipper.New(sc, shipper.Deps{Bus: connect("shipper"), Log: p.log, Metrics: prometheus.NewRegistry(), Health: telemetry.NewHealth(), Stdout: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	e := enricher.New(ec, enricher.Deps{Bus: connect("enricher"), Log: p.log, Metrics: prometheus.NewRegistry(), Health: telemetry.NewHealth()})
	go func() { ended <- s.Run(ctx) }()
	go func() { ended <- e.Run(ctx) }()
	p.publish(feed.ClicksBlocked, 5, 10)
	p.settled()
	for _, c := range []struct{ args, want string }{
		{"--all --sink file", "50 rows sent\n"},
		{"", "50 left out"},
		{"--all --sink stdout --to 0s --window " + minute(feed.ClicksBlocked, 1), "10 rows sent\n"},
		{"--reprocess", "50 rows made\n"},
	} {
		if out := order(append([]string{"replay", "--from", "1h"}, strings.Fields(c.args)...)...); !strings.Contains(out, c.want) {
			t.Errorf("%s: %s", c.args, out)
		}
	}
	if text := strings.ToLower(said.String()); strings.Contains(text, "violation") || strings.Contains(text, "level=error") {
		t.Errorf("%s", text)
	}
}
