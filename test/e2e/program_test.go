package e2e_test

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/tapsim"
)

// rest is how long a program has had nothing to do but the usual polling when it counts as idle.
const rest = 20 * time.Second

// BenchmarkProgram runs the program itself, in one process, and tells how long it takes until it is
// ready, how fast it is during two hours of backfill with a ninth of a million records an hour, and
// how much memory it takes: at most during that, right after a small backfill, and at rest.
func BenchmarkProgram(b *testing.B) {
	program := filepath.Join(b.TempDir(), "tapline")
	build := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "github.com/tapline/tapline/services/tapline/cmd/tapline")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") //nolint:forbidigo // the compiler needs the environment
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	var ready, work time.Duration
	var rows int64
	var busiest, after, idle float64
	for b.Loop() {
		busy := startProgram(b, program, 30)
		ready += busy.ready
		began := time.Now()
		busy.wait(b)
		work += busy.ready + time.Since(began)
		rows += busy.want
		busiest += busy.memory(b, "VmHWM:")
		busy.stop(b)
		quiet := startProgram(b, program, 0.1, "SCHEDULER_TICK=1s") // the default, as it is to be idle
		quiet.wait(b)
		after += quiet.memory(b, "VmRSS:")
		<-time.After(rest)
		idle += quiet.memory(b, "VmRSS:")
		quiet.stop(b)
	}
	b.ReportMetric(float64(ready.Milliseconds())/float64(b.N), "ready-ms")
	b.ReportMetric(busiest/float64(b.N), "peak-MiB")
	b.ReportMetric(after/float64(b.N), "after-MiB")
	b.ReportMetric(idle/float64(b.N), "idle-MiB")
	b.ReportMetric(float64(rows)/work.Seconds(), "rows/s")
}

// running is a program and what it is to deliver.
type running struct {
	world *world
	cmd   *exec.Cmd
	logs  *logs
	want  int64
	ready time.Duration
}

// startProgram starts the program and waits until it says that it is ready.
func startProgram(b *testing.B, program string, rate float64, extra ...string) *running {
	b.Helper()
	w := newWorldThat(b, devosink.Count, direct, func(c *tapsim.Config) { c.Rate, c.Factor, c.Age = rate, 1, 2*time.Hour })
	r := &running{world: w, logs: &logs{}}
	for truth := range w.sim.Truth(w.sim.Epoch(), w.sim.Now().Add(-2*time.Minute)) {
		if truth.Visible.Before(w.sim.Now()) {
			r.want++
		}
	}
	address := freeAddress(b)
	r.cmd = exec.CommandContext(b.Context(), program, "run")
	r.cmd.Env = append(w.environ("HTTP_ADDR="+address, "TAP_FEEDS=clicksBlocked,clicksPermitted,messagesBlocked,messagesDelivered"), extra...)
	r.cmd.Stdout, r.cmd.Stderr = r.logs, r.logs
	began := time.Now()
	if err := r.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	poll(b, "the program to be ready", func() bool {
		request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+address+"/readyz", http.NoBody)
		if err != nil {
			b.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	r.ready = time.Since(began)
	return r
}

// wait ends when the sink has everything.
func (r *running) wait(b *testing.B) {
	b.Helper()
	if _, err := r.world.sink.WaitFor(b.Context(), func(s devosink.Snapshot) bool { return s.Events >= r.want }); err != nil {
		b.Fatal(err)
	}
}

// memory reads a line of /proc, in MiB.
func (r *running) memory(b *testing.B, name string) float64 {
	b.Helper()
	data, err := os.ReadFile("/proc/" + strconv.Itoa(r.cmd.Process.Pid) + "/status")
	if err != nil {
		b.Skipf("this system does not tell how much memory a process takes: %v", err)
	}
	for line := range bytes.Lines(data) {
		if rest, ok := strings.CutPrefix(string(line), name); ok {
			kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			if err != nil {
				b.Fatal(err)
			}
			return kib / 1024
		}
	}
	b.Fatalf("no %s in\n%s", name, data)
	return 0
}

func (r *running) stop(b *testing.B) {
	b.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		b.Fatal(err)
	}
	if err := r.cmd.Wait(); err != nil {
		b.Fatalf("%v\n%s", err, r.logs)
	}
}
