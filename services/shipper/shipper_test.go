package shipper_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/devosink"
)

// kind is one sink, and how to see what it has.
type kind struct {
	environ []string
	stdout  *output
	rows    func(t *testing.T) []string
}

// line is what the sinks file and stdout write.
type line struct {
	Table string          `json:"table"`
	Time  string          `json:"time"`
	Event json.RawMessage `json:"event"`
}

// lines checks and unwraps lines of JSON.
func lines(t *testing.T, text string) (rows []string) {
	t.Helper()
	for text := range strings.Lines(text) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%v: %q", err, text)
		}
		if l.Table != table || l.Time != "2026-03-11T08:00:00.123Z" {
			t.Fatalf("line %q", text)
		}
		rows = append(rows, string(l.Event))
	}
	return rows
}

// sinks is every sink there is.
func sinks() map[string]func(t *testing.T) kind {
	tls := func(extra ...string) func(t *testing.T) kind {
		return func(t *testing.T) kind {
			t.Helper()
			sink, environ := endpoint(t, devosink.Full)
			return kind{environ: append(environ, extra...), rows: func(*testing.T) (rows []string) {
				for _, e := range sink.Events(table) {
					rows = append(rows, string(e.Message))
				}
				return rows
			}}
		}
	}
	return map[string]func(t *testing.T) kind{
		"devo":             tls(),
		"devo gzip":        tls("DEVO_COMPRESS=gzip"),
		"devo rotate":      tls("DEVO_CONFIRM=rotate", "DEVO_ROTATE_AFTER=50ms"),
		"devo rotate gzip": tls("DEVO_CONFIRM=rotate", "DEVO_ROTATE_AFTER=50ms", "DEVO_COMPRESS=gzip"),
		"devo any name":    tls("DEVO_SERVER_NAME=somebody.else", "DEVO_VERIFY_HOSTNAME=false"),
		"relay": func(t *testing.T) kind {
			t.Helper()
			sink, environ := relay(t, devosink.Full)
			return kind{environ: environ, rows: func(*testing.T) (rows []string) {
				for _, e := range sink.Events(table) {
					rows = append(rows, string(e.Message))
				}
				return rows
			}}
		},
		"stdout": func(*testing.T) kind {
			out := &output{}
			return kind{environ: []string{"SINK=stdout"}, stdout: out, rows: func(t *testing.T) []string { t.Helper(); return lines(t, out.String()) }}
		},
		"file": func(t *testing.T) kind {
			t.Helper()
			path := filepath.Join(t.TempDir(), "new", "events.jsonl")
			return kind{environ: []string{"SINK=file", "SINK_FILE_PATH=" + path}, rows: func(t *testing.T) []string {
				t.Helper()
				data, err := os.ReadFile(path)
				if err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
				return lines(t, string(data))
			}}
		},
	}
}

// TestEverySinkGetsEveryRowOnce is the contract of all sinks, over a restart.
func TestEverySinkGetsEveryRowOnce(t *testing.T) {
	t.Parallel()
	for name, open := range sinks() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, b := open(t), bustest.Start(t)
			var want []string
			for i := range 600 {
				want = append(want, row(i))
			}
			for i := range 2 {
				fill(t, b, 300*i, 10, 30)
				stop := start(t, b, k.stdout, k.environ)
				settled(t, b)
				stop()
			}
			got := k.rows(t)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%d rows, want %d", len(got), len(want))
			}
		})
	}
}

// TestBadInputGoesToDead: what cannot be shipped is kept, its neighbours are delivered.
func TestBadInputGoesToDead(t *testing.T) {
	t.Parallel()
	server := bustest.Server(t)
	b := bustest.Connect(t, server)
	if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	bustest.Publish(t, server, "event.main.some.table", []byte("\xff garbage"))
	publish(t, b, &batch.Events{Tenant: "stranger", Table: "some.table", SourceSequence: 1})
	bustest.Publish(t, server, "event.main.some.table", batch.AppendEvents(nil, &batch.Events{Tenant: "main", Table: "two:words"}))
	publish(t, b, &batch.Events{Tenant: "main", Table: table, SourceSequence: 2, Events: []batch.Event{
		{PullMS: pulled, JSON: []byte(row(1))},
		{PullMS: pulled, JSON: []byte(`{"a":"` + strings.Repeat("x", 2000) + `"}`)},
		{PullMS: pulled, JSON: []byte("{\"a\":\n1}")},
		{PullMS: pulled, JSON: []byte(row(2))},
	}})
	publish(t, b, &batch.Events{Tenant: "main", Table: table, SourceSequence: 3, Events: []batch.Event{
		{PullMS: pulled, JSON: []byte(`{"alone":"` + strings.Repeat("x", 2000) + `"}`)},
	}})
	out := &output{}
	start(t, b, out, []string{"SINK=stdout", "EVENT_MAX_BYTES=1024"})
	settled(t, b)
	if got := lines(t, out.String()); !slices.Equal(got, []string{row(1), row(2)}) {
		t.Errorf("shipped %q", got)
	}
	var reasons []string
	for i := range uint64(6) {
		m, err := b.Message(t.Context(), bus.StreamDead, i+1)
		if err != nil {
			t.Fatal(err)
		}
		var l taplinev1.DeadLetter
		if err := proto.Unmarshal(m.Data, &l); err != nil {
			t.Fatal(err)
		}
		if l.GetStage() != "shipper" || len(l.GetPayload()) == 0 || l.GetSource() == "" {
			t.Errorf("letter %v", &l)
		}
		reasons = append(reasons, l.GetReason())
	}
	all := fmt.Sprint(reasons)
	for _, want := range []string{"malformed", `unknown tenant "stranger"`, `not a Devo tag: "two:words"`, "too long: 2008 bytes", "control character"} {
		if !strings.Contains(all, want) {
			t.Errorf("no letter says %q: %q", want, reasons)
		}
	}
}

// TestHeaderOfALine: what Devo routes by.
func TestHeaderOfALine(t *testing.T) {
	t.Parallel()
	for format, date := range map[string]string{
		"devo": "2026-03-11 08:00:00.123", "rfc3339": "2026-03-11T08:00:00.123Z", "rfc3164": "Mar 11 08:00:00",
	} {
		sink, environ := endpoint(t, devosink.Full)
		b := bustest.Start(t)
		fill(t, b, 7, 1, 1)
		start(t, b, nil, append(environ, "DEVO_DATE_FORMAT="+format))
		settled(t, b)
		e := sink.Events("")[0]
		want := "<14>" + date + " collector-1 " + table + ": " + row(7)
		if string(e.Frame.Raw) != want || e.Frame.Kind != devosink.Line || e.Tag != table {
			t.Errorf("line %q, want %q", e.Frame.Raw, want)
		}
	}
}

// TestUnreadRowsComeAgain: the sink's kernel has acknowledged rows that the sink
// never read before it broke.
func TestUnreadRowsComeAgain(t *testing.T) {
	t.Parallel()
	sink, environ := endpoint(t, devosink.Full)
	if err := sink.Inject(devosink.Fault{Kind: devosink.FaultStall, Count: 1, Bytes: 1, Delay: 300_000_000}); err != nil {
		t.Fatal(err)
	}
	if err := sink.Inject(devosink.Fault{Kind: devosink.FaultReset, Count: 1, Bytes: 1}); err != nil {
		t.Fatal(err)
	}
	b := bustest.Start(t)
	fill(t, b, 0, 20, 10)
	start(t, b, nil, append(environ, "SHIPPER_CONNECTIONS=1", "DEVO_SETTLE=5s"))
	settled(t, b)
	rows := map[string]bool{}
	for _, e := range sink.Events(table) {
		rows[string(e.Message)] = true
	}
	if len(rows) != 200 {
		t.Errorf("%d of 200 rows arrived", len(rows))
	}
}

// TestInFlightIsBounded: a sink that never reads gets no more than is allowed.
func TestInFlightIsBounded(t *testing.T) {
	t.Parallel()
	sink, environ := endpoint(t, devosink.Count)
	if err := sink.Inject(devosink.Fault{Kind: devosink.FaultStall}); err != nil {
		t.Fatal(err)
	}
	b := bustest.Start(t)
	const each = 256 << 10
	for i := range 16 {
		publish(t, b, &batch.Events{Tenant: "main", Table: table, SourceSequence: uint64(i + 1), Events: []batch.Event{
			{PullMS: pulled, JSON: []byte(`{"a":"` + strings.Repeat("x", each) + `"}`)},
		}})
	}
	start(t, b, nil, append(environ, "SHIPPER_CONNECTIONS=1", "SHIPPER_MAX_INFLIGHT_BYTES=1048576", "DEVO_SETTLE=1s"))
	var most int
	poll(t, "work in hand", func() bool {
		left, err := b.Backlog(t.Context(), bus.ConsumerShipper)
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, left.InWork)
		return most >= 4
	})
	if err := sink.Clear(); err != nil {
		t.Fatal(err)
	}
	settled(t, b)
	// The limit holds four; one more waits in the process.
	if most > 6 {
		t.Errorf("%d messages in hand", most)
	}
	if n := sink.Snapshot().Events; n < 16 {
		t.Errorf("%d of 16 rows arrived", n)
	}
}
