package replay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/devosink/devocert"
	"github.com/tapline/tapline/services/tapctl"
)

// TestKilledInMidReplay: shippers are killed again and again, and what a last one brings to its end
// is complete.
func TestKilledInMidReplay(t *testing.T) {
	t.Parallel()
	p, first := filled(t, 60, 20)
	v := view{}
	for round := range 3 {
		p.killed(func() {
			if round == 0 {
				v = p.ask("replay", "--from", "1h", "--sink", "file", "--all", "--rate", slow, "--detach")
			}
			before := p.ask("replay", "show", v.ID).Rows
			p.await(v.ID, "to go on", func(v view) bool { return v.Rows > before })
		})
		if now := p.ask("replay", "show", v.ID); now.State != "running" || now.Settled >= 60 {
			t.Fatalf("it ended in spite of its rate: %+v", now)
		}
	}
	p.hasten(v.ID)
	p.shipper()
	if v = p.done(v.ID); v.Rows != len(first) || v.Settled != 60 || v.Missed != 0 {
		t.Errorf("%+v", v)
	}
	again := rows(t, p.fileOf(v.ID))
	got := count(again)
	if !maps.Equal(distinct(got), distinct(first)) {
		t.Errorf("%d different rows, want %d", len(got), len(first))
	}
	// What a killed process had sent and not recorded is repeated: a message or two, not the
	// replay.
	if doubles := len(again) - len(first); doubles > 3*2*20 {
		t.Errorf("%d rows twice", doubles)
	}
	p.account()
}

func distinct(n map[string]int) map[string]bool {
	d := map[string]bool{}
	for id := range n {
		d[id] = true
	}
	return d
}

// TestTwoShippersOneOrder: one of them works on it; when that one stops, the other takes over.
func TestTwoShippersOneOrder(t *testing.T) {
	t.Parallel()
	p, first := filled(t, 60, 20)
	shippers := []*running{p.shipper("SINK=stdout"), p.shipper("SINK=stdout")} // two do not write one file
	v := p.ask("replay", "--from", "1h", "--sink", "file", "--all", "--rate", slow, "--detach")
	p.await(v.ID, "to begin", func(v view) bool { return v.Rows > 0 })
	busy := -1
	for i, s := range shippers {
		if value(t, s.metrics, "tapline_replay_active") > 0 {
			if busy >= 0 {
				t.Error("both work on it")
			}
			busy = i
		}
	}
	if busy < 0 {
		t.Fatal("no shipper works on it")
	}
	p.hasten(v.ID)
	shippers[busy].stop()
	if v = p.done(v.ID); v.Rows != len(first) {
		t.Errorf("%+v", v)
	}
	again := count(rows(t, p.fileOf(v.ID)))
	if !maps.Equal(again, first) { // who stops in an orderly way leaves nothing behind that is not recorded
		t.Errorf("%d different rows, want each of %d once", len(again), len(first))
	}
	if value(t, shippers[1-busy].metrics, "tapline_replay_rows_total") == 0 {
		t.Error("the other shipper has done nothing")
	}
}

// TestPauseResumeCancelOverRestarts of everything but the files.
func TestPauseResumeCancelOverRestarts(t *testing.T) {
	t.Parallel()
	p, first := filled(t, 60, 20)
	s := p.shipper()
	v := p.ask("replay", "--from", "1h", "--sink", "file", "--all", "--rate", slow, "--detach")
	doomed := p.ask("replay", "--from", "1h", "--sink", "file", "--all", "--rate", slow, "--detach")
	p.await(v.ID, "to begin", func(v view) bool { return v.Rows > 0 })
	p.await(doomed.ID, "to begin", func(v view) bool { return v.Rows > 0 })
	p.ask("replay", "pause", v.ID)
	p.ask("replay", "pause", doomed.ID)
	p.await(v.ID, "to rest", func(v view) bool { return v.State == "paused" && v.Owner == "" })
	s.stop()
	p.restart()
	before := p.ask("replay", "show", v.ID)
	if before.State != "paused" || before.Settled == 0 || before.Settled >= 60 {
		t.Fatalf("%+v", before)
	}
	p.shipper()
	other := p.ask("replay", "--from", "1h", "--sink", "file", "--all") // this shipper works on orders
	if other.State != "done" {
		t.Errorf("%+v", other)
	}
	if now := p.ask("replay", "show", v.ID); now.Settled != before.Settled {
		t.Errorf("a paused replay went from %d to %d messages", before.Settled, now.Settled)
	}
	p.hasten(v.ID)
	p.ask("replay", "resume", v.ID)
	if v = p.done(v.ID); v.Rows != len(first) || v.Settled != 60 {
		t.Errorf("%+v", v)
	}
	if got := count(rows(t, p.fileOf(v.ID))); !maps.Equal(distinct(got), distinct(first)) {
		t.Errorf("%d different rows, want %d", len(got), len(first))
	}
	if c := p.ask("replay", "cancel", doomed.ID); c.State != "cancelled" {
		t.Errorf("%+v", c)
	}
	if _, err := p.Backlog(t.Context(), bus.ReplayConsumer(doomed.ID)); !errors.Is(err, bus.ErrNotSetUp) {
		t.Errorf("the consumer of a cancelled replay is still there: %v", err)
	}
	for _, verb := range []string{"pause", "resume", "cancel"} {
		if code, _, stderr := p.tapctl("replay", verb, doomed.ID); code != 2 || !strings.Contains(stderr, "it is cancelled") {
			t.Errorf("%s what is cancelled: status %d, %q", verb, code, stderr)
		}
	}
	code, stdout, _ := p.tapctl("replay", "ls")
	if code != 0 || !strings.Contains(stdout, v.ID+"  done ") || !strings.Contains(stdout, doomed.ID+"  cancelled ") {
		t.Errorf("ls: status %d\n%s", code, stdout)
	}
}

// TestTheServerRestarts in the middle of a replay, of live delivery, and of a command that waits.
func TestTheServerRestarts(t *testing.T) {
	t.Parallel()
	p, first := filled(t, 60, 20)
	s := p.shipper()
	v := p.ask("replay", "--from", "1h", "--sink", "file", "--all", "--rate", slow, "--detach")
	p.await(v.ID, "to begin", func(v view) bool { return v.Rows > 0 })
	waited := make(chan string, 1)
	said, errs := &firstWord{begun: make(chan struct{})}, &bytes.Buffer{}
	go func() {
		code := tapctl.Execute(context.WithoutCancel(t.Context()), tapctl.Process{Args: []string{"replay", "wait", v.ID}, Environ: []string{"NATS_URL=" + p.url}, Stdout: said, Stderr: errs})
		waited <- fmt.Sprint(code, said, errs)
	}()
	select {
	case <-said.begun:
	case code := <-waited:
		t.Fatalf("the command that waited: %s", code)
	}
	p.restart()
	now := p.ask("replay", "show", v.ID)
	if now.State == "done" {
		t.Fatalf("it ended in spite of its rate: %+v", now)
	}
	p.await(v.ID, "to go on", func(v view) bool { return v.Rows > now.Rows }) // at the same shipper
	p.hasten(v.ID)
	s.stop()
	p.shipper()
	if v = p.done(v.ID); v.Rows != len(first) || v.Settled != 60 {
		t.Errorf("%+v", v)
	}
	if said := <-waited; !strings.HasPrefix(said, "0") || !strings.Contains(said, "60 of 60 messages") {
		t.Errorf("the command that waited: %s", said)
	}
	if got := count(rows(t, p.fileOf(v.ID))); !maps.Equal(distinct(got), distinct(first)) {
		t.Errorf("%d different rows, want %d", len(got), len(first))
	}
}

// firstWord is output that tells when it begins.
type firstWord struct {
	bytes.Buffer
	begun chan struct{}
	once  sync.Once
}

func (w *firstWord) Write(b []byte) (int, error) {
	defer w.once.Do(func() { close(w.begun) })
	return w.Buffer.Write(b)
}

// TestAQuestionThatGoesDownWithTheServer: a command that waits asks again, and if it was the very
// first question.
func TestAQuestionThatGoesDownWithTheServer(t *testing.T) {
	t.Parallel()
	p, first := filled(t, 2, 20)
	p.shipper()
	v := p.ask("replay", "--from", "1h", "--sink", "file", "--all", "--detach")
	url, swallowed := swallow(t, p.url, "$JS.API.STREAM.INFO.KV_"+bus.BucketReplay, never)
	var out, errs bytes.Buffer
	code := tapctl.Execute(t.Context(), tapctl.Process{Args: []string{"replay", "wait", v.ID}, Environ: []string{"NATS_URL=" + url}, Stdout: &out, Stderr: &errs})
	if code != 0 || !strings.Contains(out.String(), "2 of 2 messages") {
		t.Errorf("status %d: %s%s", code, &out, &errs)
	}
	if !swallowed() {
		t.Error("the question was never asked")
	}
	if v = p.done(v.ID); v.Rows != len(first) {
		t.Errorf("%+v", v)
	}
}

// TestAnOrderWhoseAnswerIsLost is given once, and the command knows.
func TestAnOrderWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	p, first := filled(t, 2, 20)
	p.shipper()
	url, swallowed := swallow(t, p.url, never, `"stream":"KV_`+bus.BucketReplay+`"`)
	var out, errs bytes.Buffer
	code := tapctl.Execute(t.Context(), tapctl.Process{
		Args: []string{"replay", "--from", "1h", "--sink", "file", "--all"}, Environ: []string{"NATS_URL=" + url}, Stdout: &out, Stderr: &errs,
	})
	if code != 0 || !strings.Contains(out.String(), "2 of 2 messages") {
		t.Errorf("status %d: %s%s", code, &out, &errs)
	}
	if !swallowed() {
		t.Error("there was no answer to lose")
	}
	_, listed, _ := p.tapctl("replay", "ls", "--output", "json")
	var all []view
	if err := json.Unmarshal([]byte(listed), &all); err != nil || len(all) != 1 {
		t.Fatalf("%v: want one replay: %s", err, listed)
	}
	if all[0].State != "done" || all[0].Rows != len(first) {
		t.Errorf("%+v", all[0])
	}
}

// TestABackupWhoseServerRestarts ends, and says so; it waited ten minutes for an answer that could
// not come.
func TestABackupWhoseServerRestarts(t *testing.T) {
	t.Parallel()
	p, _ := filled(t, 2, 20)
	url, swallowed := swallow(t, p.url, "$JS.API.STREAM.SNAPSHOT.", never)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var errs bytes.Buffer
	dir := filepath.Join(t.TempDir(), "backup")
	code := tapctl.Execute(ctx, tapctl.Process{Args: []string{"backup", dir}, Environ: []string{"NATS_URL=" + url}, Stdout: io.Discard, Stderr: &errs})
	if ctx.Err() != nil || code != 1 || !swallowed() || !strings.Contains(errs.String(), "NATS connection lost") {
		t.Errorf("status %d, %v: %s", code, ctx.Err(), &errs)
	}
}

// never is what neither side says.
const never = "\r\nnever\r\n"

// swallow is a way to the server that ends, once, with the first connection on which the client
// asks something or the server answers something, and takes it along.
func swallow(t *testing.T, server, question, answer string) (url string, swallowed func() bool) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it ends with the test
	if err != nil {
		t.Fatal(err)
	}
	var done atomic.Bool
	var ways sync.WaitGroup
	ways.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			ways.Go(func() {
				defer client.Close()
				up, err := net.Dial("tcp", strings.TrimPrefix(server, "nats://")) //nolint:noctx // the same
				if err != nil {
					return
				}
				carry := func(to, from net.Conn, something string) {
					for b := make([]byte, 64<<10); ; {
						n, err := from.Read(b)
						if err != nil || bytes.Contains(b[:n], []byte(something)) && done.CompareAndSwap(false, true) {
							return
						}
						_, _ = to.Write(b[:n])
					}
				}
				ways.Go(func() {
					carry(client, up, answer)
					_ = client.Close()
				})
				defer up.Close()
				carry(up, client, question)
			})
		}
	})
	t.Cleanup(ways.Wait)
	t.Cleanup(func() { _ = ln.Close() })
	return "nats://" + ln.Addr().String(), done.Load
}

// TestASinkThatIsAway: nothing is pulled meanwhile, tapctl says why, and everything arrives when it
// is back.
func TestASinkThatIsAway(t *testing.T) {
	t.Parallel()
	p, first := filled(t, 30, 20)
	sink, environ := devo(t)
	if err := sink.Inject(devosink.Fault{Kind: devosink.FaultRefuse}); err != nil {
		t.Fatal(err)
	}
	p.shipper(environ...)
	v := p.ask("replay", "--from", "1h", "--sink", "devo", "--all", "--detach")
	v = p.await(v.ID, "to tell", func(v view) bool { return strings.HasPrefix(v.Reason, "the sink does not take rows: ") })
	if v.State != "running" || v.Settled != 0 {
		t.Errorf("%+v", v)
	}
	p.publish(feed.MessagesBlocked, 10, 10) // to the live sink, which is another
	p.settled()
	left, err := p.Backlog(t.Context(), bus.ReplayConsumer(v.ID))
	if err != nil || left.InWork > 8 {
		t.Errorf("%d messages in work while the sink is away, %v", left.InWork, err)
	}
	if err := sink.Clear(); err != nil {
		t.Fatal(err)
	}
	if v = p.done(v.ID); v.Rows != len(first) || v.Reason != "" {
		t.Errorf("%+v", v)
	}
	got := map[string]bool{}
	for _, e := range sink.Events("") {
		if e.Frame.Partial {
			continue
		}
		if !strings.HasSuffix(string(e.Message), `","@tapline_replay_id":"`+v.ID+`"}`) {
			t.Fatalf("row %s", e.Message)
		}
		got[string(e.Message)] = true
	}
	if len(got) != len(first) {
		t.Errorf("%d different rows, want %d", len(got), len(first))
	}
}

// devo is a stand-in for Devo and the variables that lead to it.
func devo(t *testing.T) (*devosink.Sink, []string) {
	t.Helper()
	set, err := devocert.New(devocert.Options{})
	if err != nil {
		t.Fatal(err)
	}
	files, err := set.Write(filepath.Join(t.TempDir(), "certs"))
	if err != nil {
		t.Fatal(err)
	}
	conf, err := set.Server()
	if err != nil {
		t.Fatal(err)
	}
	sink, err := devosink.New(devosink.Config{TLS: conf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sink.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return sink, []string{
		"DEVO_ADDRESS=" + sink.Addr(), "DEVO_CHAIN_FILE=" + files.Chain, "DEVO_CERT_FILE=" + files.ClientCert, "DEVO_KEY_FILE=" + files.ClientKey,
	}
}
