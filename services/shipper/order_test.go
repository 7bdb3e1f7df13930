package shipper_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/replay"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/shipper"
)

// order gives an order about everything in EVENTS, as tapctl does, and waits for its end or, if it
// cannot be done, for what it says.
func order(t *testing.T, b *bus.Bus, o *taplinev1.ReplayOrder) *taplinev1.Replay {
	t.Helper()
	o.Id, o.Tenant = replay.NewID(time.Now()), "main"
	extent, err := b.Extent(t.Context(), replay.Selection(o), time.Time{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	o.FirstSequence, o.LastSequence, o.Messages = extent.First, extent.Last, extent.Messages
	if err := b.MakeReplay(t.Context(), replay.Consumer(o), replay.Selection(o), o.GetFirstSequence()); err != nil {
		t.Fatal(err)
	}
	bucket, err := b.Bucket(t.Context(), bus.BucketReplay)
	if err != nil {
		t.Fatal(err)
	}
	report := replay.NewStore(bucket, "main")
	if _, err := report.Give(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	var r *taplinev1.Replay
	poll(t, "the end of the order", func() bool {
		if r, err = report.Get(t.Context(), o.GetId()); err != nil {
			t.Fatal(err)
		}
		return replay.Over(r) || o.GetSink() == shipper.SinkDevo && r.GetReason() != ""
	})
	return r
}

// TestOrders: what is resent is what the order wants, marked; what is delivered is left out unless
// all is wanted, and another sink gets copies.
func TestOrders(t *testing.T) {
	t.Parallel()
	const jobID = "main/all/20260311T080000Z/20260311T090000Z/live/0"
	b, out := bustest.Start(t), &output{}
	batches := []batch.Events{
		{Table: table, Feed: "clicksBlocked", JobID: jobID, SourceSequence: 1},
		{Table: table, Feed: "clicksBlocked", JobID: jobID, SourceSequence: 2},
		{Table: strings.Replace(table, "blocked", "permitted", 1), Feed: "clicksPermitted", JobID: "none", SourceSequence: 3},
	}
	n := 0
	for i := range batches {
		e := &batches[i]
		e.Tenant = "main"
		for range 2 {
			e.Events = append(e.Events, batch.Event{ID: fmt.Appendf(nil, "%032x", n), PullMS: pulled, JSON: []byte(row(n))})
			n++
		}
		publish(t, b, e)
	}
	copies := filepath.Join(t.TempDir(), "copies.jsonl")
	start(t, b, out, []string{"SINK=stdout", "SINK_FILE_PATH=" + copies})
	settled(t, b)
	sent := len(rowsIn(out.String()))
	if sent != n {
		t.Fatalf("%d rows at first, want %d", sent, n)
	}
	for name, c := range map[string]struct {
		order                 *taplinev1.ReplayOrder
		rows, delivered, more int // more on the usual sink
	}{
		"what is missing": {&taplinev1.ReplayOrder{}, 2, 4, 2}, // of no job nothing is known
		"one feed":        {&taplinev1.ReplayOrder{All: true, Feeds: []string{"clicksPermitted"}}, 2, 0, 2},
		"one row":         {&taplinev1.ReplayOrder{All: true, Records: []string{fmt.Sprintf("%032x", 3)}}, 1, 0, 1},
		"one job":         {&taplinev1.ReplayOrder{All: true, Jobs: []string{jobID}}, 4, 0, 4},
		"copies":          {&taplinev1.ReplayOrder{All: true, Sink: "file"}, 6, 0, 0},
		"missing copies":  {&taplinev1.ReplayOrder{Sink: "file", Feeds: []string{"clicksBlocked"}}, 0, 4, 0},
	} {
		before := len(rowsIn(out.String()))
		r := order(t, b, c.order)
		p, id := r.GetProgress(), r.GetOrder().GetId()
		if replay.StateName(r) != "done" || int(p.GetRows()) != c.rows || int(p.GetDelivered()) != c.delivered || p.GetMessages() != r.GetOrder().GetMessages() {
			t.Errorf("%s: %v", name, r)
		}
		got := rowsIn(out.String())[before:]
		if c.order.GetSink() != "" {
			path := strings.TrimSuffix(copies, ".jsonl") + ".replay-" + id + ".jsonl"
			data, err := os.ReadFile(path)
			if err != nil && c.rows > 0 {
				t.Error(err)
			}
			if n := len(rowsIn(string(data))); n != c.rows || len(got) != 0 {
				t.Errorf("%s: %d rows in the file, %d elsewhere", name, n, len(got))
			}
			continue
		}
		marked := 0
		for _, line := range got {
			marked += strings.Count(line, `"@tapline_replay_id":"`+id+`"`)
		}
		if len(got) != c.more || marked != c.more {
			t.Errorf("%s: %d rows more, %d of them marked, want %d", name, len(got), marked, c.more)
		}
	}
	if r := order(t, b, &taplinev1.ReplayOrder{Sink: "devo"}); replay.StateName(r) == "done" || !strings.Contains(r.GetReason(), "--sink") {
		t.Errorf("to a sink that is not configured: %v", r)
	}
}

// TestAReplayAddsNothingIfNothingIsAdded: with the added keys switched off a row is sent as it was.
func TestAReplayAddsNothingIfNothingIsAdded(t *testing.T) {
	t.Parallel()
	b, out := bustest.Start(t), &output{}
	fill(t, b, 0, 1, 2)
	start(t, b, out, []string{"SINK=stdout", "EVENT_TAPLINE_ID=false"})
	settled(t, b)
	if r := order(t, b, &taplinev1.ReplayOrder{All: true}); replay.StateName(r) != "done" || r.GetProgress().GetRows() != 2 {
		t.Fatal(r)
	}
	if rows := rowsIn(out.String()); len(rows) != 4 || !slices.Equal(rows[:2], rows[2:]) {
		t.Errorf("sent: %q", rows)
	}
}

// TestCheck says whether the sink can be reached, and sends nothing.
func TestCheck(t *testing.T) {
	t.Parallel()
	secure, tls := endpoint(t, devosink.Count)
	plain, tcp := relay(t, devosink.Count)
	http, web := web(t)
	dir := t.TempDir()
	for name, c := range map[string]struct {
		environ []string
		want    string // of what it says, or empty for an error
	}{
		"stdout":           {[]string{"SINK=stdout"}, "standard output"},
		"file":             {[]string{"SINK=file", "SINK_FILE_PATH=" + filepath.Join(dir, "f")}, "can be written to"},
		"no folder":        {[]string{"SINK=file", "SINK_FILE_PATH=" + filepath.Join(dir, "none", "f")}, ""},
		"devo":             {tls, "takes our certificate"},
		"relay":            {tcp, "takes connections"},
		"nobody":           {[]string{"SINK=devo", "DEVO_TLS=false", "DEVO_ADDRESS=127.0.0.1:1"}, ""},
		"devo-http":        {web, "answers"},
		"nobody over http": {append(slices.Clip(web), "DEVO_HTTP_URL=http://127.0.0.1:1"), ""},
	} {
		var conf shipper.Config
		if err := config.Load(&conf, c.environ); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		said, err := shipper.Check(t.Context(), conf)
		if (err == nil) != (c.want != "") || !strings.Contains(said, c.want) {
			t.Errorf("%s: %q, %v", name, said, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	for name, sink := range map[string]*devosink.Sink{"devo": secure, "relay": plain, "http": http} {
		if n := sink.Snapshot().Events; n != 0 {
			t.Errorf("%s: %d rows were sent", name, n)
		}
	}
}

// rowsIn are the lines of an output, of whatever table.
func rowsIn(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
}
