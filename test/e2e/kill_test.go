package e2e_test

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/tier"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/tapline"
	"github.com/tapline/tapline/services/tapsim"
)

// childVariable makes the test binary behave as the program.
const childVariable = "TAPLINE_E2E_CHILD"

// child is the program.
func child() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return tapline.Execute(ctx, tapline.Process{Args: []string{"run"}, Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr}) //nolint:forbidigo // it is the program
}

// TestKillAtAnyMoment kills the one process at random moments and starts it
// again on the same data, then expects every record, with one identity each, and no
// more duplicates than were in flight.
func TestKillAtAnyMoment(t *testing.T) {
	t.Parallel()
	const inFlight = 1 << 20
	w := newWorld(t, func(c *tapsim.Config) {
		c.Rate, c.Factor, c.Age = 2, 1, tier.Pick(2*time.Hour, 2*time.Hour, 6*time.Hour)
	})
	// Both ends are slow, so that there is work in hand at every moment.
	if err := w.sim.Inject(tapsim.Fault{Kind: tapsim.FaultSlow, Delay: 300 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	if err := w.sink.Inject(devosink.Fault{Kind: devosink.FaultSlow, Delay: 4 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	random, kills := rand.New(rand.NewPCG(tier.Seed(t), 0)), tier.Pick(6, 6, 24)
	var output logs
	for round := range kills {
		// Two rounds of three are killed in the middle of shipping, the others at any time
		// from the start on.
		busy, wait := round%3 != 2, time.Duration(random.Int64N(int64(300*time.Millisecond)))
		if !busy {
			wait = time.Duration(random.Int64N(int64(2 * time.Second)))
		}
		w.child(t, &output, func(cmd *exec.Cmd) {
			poll(t, "start of the process", func() bool { return output.count(`"msg":"start"`) > round })
			if busy {
				w.progress(t)
			}
			timer := time.NewTimer(wait)
			defer timer.Stop()
			<-timer.C
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		})
	}
	at := w.sim.Now().Add(-2 * time.Minute) // live windows end a minute and a margin behind
	var have map[string]*delivery
	w.child(t, &output, func(cmd *exec.Cmd) {
		if err := w.sink.Clear(); err != nil {
			t.Fatal(err)
		}
		have = w.complete(t, at)
		w.expanded(t, at)
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	})
	w.onceEach(t)
	rows, bytesTwice := 0, 0
	for key, d := range have {
		if len(d.ids) != 1 {
			t.Errorf("%s has %d ids", key, len(d.ids))
		}
		rows += d.rows
	}
	for _, e := range w.sink.Events("") {
		bytesTwice += len(e.Message)
	}
	duplicates := rows - len(have)
	// Each kill may repeat what was in flight, and acks of the last moment: no more
	// rows than twice those bytes hold.
	smallest := bytesTwice / max(rows, 1) / 4
	if most := kills * 2 * inFlight / max(smallest, 1); duplicates > most {
		t.Errorf("%d duplicates of %d rows, at most %d were in flight", duplicates, rows, most)
	}
	t.Logf("%d records, %d rows, %d duplicates after %d kills", len(have), rows, duplicates, kills)
}

// progress waits until rows arrive, or long enough to believe that all have.
func (w *world) progress(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	before := w.sink.Snapshot().Events
	if _, err := w.sink.WaitFor(ctx, func(s devosink.Snapshot) bool { return s.Events > before }); err != nil {
		t.Log("no rows arrive any more in this round")
	}
}

// child runs the program as [world.childThat] does.
func (w *world) child(t *testing.T, output io.Writer, work func(*exec.Cmd)) {
	t.Helper()
	w.childThat(t, []string{"TAP_FORENSICS=true"}, output, work)
}

// childThat runs the program with some more variables, lets work happen beside it, and waits for
// its end.
func (w *world) childThat(t *testing.T, extra []string, output io.Writer, work func(*exec.Cmd)) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(w.environ(append(extra, "TAP_START_TIME=6h", "SHIPPER_MAX_INFLIGHT_BYTES=1048576", "STREAM_ACK_WAIT=1s", "LOG_FORMAT=json")...), childVariable+"=1", "GOCOVERDIR="+w.dir)
	own := &logs{}
	both := io.MultiWriter(own, output)
	cmd.Stdout, cmd.Stderr = both, both // the same, so that there is one writer
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	work(cmd)
	err := cmd.Wait()
	if exit := cmd.ProcessState; !exit.Success() && exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL { // this is Unix
		t.Fatalf("the process ended by itself: %v\n%s", err, own.String())
	}
}
