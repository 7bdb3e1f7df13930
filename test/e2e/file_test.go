package e2e_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/tier"
	"github.com/tapline/tapline/services/tapsim"
)

// TestKilledWhileWritingAFile: the process is killed again and again while it writes a file that is
// renamed often. In the end each line is whole, and each record is there.
func TestKilledWhileWritingAFile(t *testing.T) {
	t.Parallel()
	kills := tier.Pick(3, 3, 8)
	w := newWorld(t, func(c *tapsim.Config) { c.Rate, c.Factor, c.Age = 1, 1, 3*time.Hour })
	if err := w.sim.Inject(tapsim.Fault{Kind: tapsim.FaultSlow, Delay: 100 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.dir, "rows", "events.jsonl")
	environ := []string{"SINK=file", "SINK_FILE_PATH=" + path, "SINK_FILE_MAX_BYTES=500000", "SINK_FILE_KEEP=10000", "TAP_FEEDS=clicksBlocked,messagesBlocked"}
	random := rand.New(rand.NewPCG(tier.Seed(t), 0))
	var output logs
	for range kills {
		w.childThat(t, environ, &output, func(cmd *exec.Cmd) {
			before := bytesBelow(t, filepath.Dir(path))
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
			defer cancel()
			for bytesBelow(t, filepath.Dir(path)) <= before && ctx.Err() == nil { // all rows may be there already
				<-time.After(5 * time.Millisecond)
			}
			timer := time.NewTimer(time.Duration(random.Int64N(int64(100 * time.Millisecond))))
			defer timer.Stop()
			<-timer.C
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		})
	}
	at := w.sim.Now().Add(-2 * time.Minute)
	w.childThat(t, environ, &output, func(cmd *exec.Cmd) {
		poll(t, "rows", func() bool { return w.inFiles(t, path, at) == 0 })
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	})
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) < 3 {
		t.Errorf("%d files, %v", len(files), err)
	}
	for _, name := range files {
		rowsOf(t, name, true)
	}
}

// bytesBelow adds up the files in a directory.
func bytesBelow(t *testing.T, dir string) (sum int64) {
	t.Helper()
	entries, _ := os.ReadDir(dir) // it may not be there yet
	for _, e := range entries {
		if info, err := e.Info(); err == nil { // it may just be renamed
			sum += info.Size()
		}
	}
	return sum
}

// rowsOf reads the lines of a file by table. While it is written, the last line may be half there.
func rowsOf(t *testing.T, name string, whole bool) map[string][]json.RawMessage {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string][]json.RawMessage)
	for text := range strings.Lines(string(data)) {
		if !whole && !strings.HasSuffix(text, "\n") {
			continue
		}
		var line struct {
			Table string          `json:"table"`
			Event json.RawMessage `json:"event"`
		}
		if err := json.Unmarshal([]byte(text), &line); err != nil || line.Table == "" {
			t.Fatalf("%s: %v in %.200q", name, err, text)
		}
		rows[line.Table] = append(rows[line.Table], line.Event)
	}
	return rows
}

// inFiles counts the records visible at a moment that are in no file.
func (w *world) inFiles(t *testing.T, path string, at time.Time) int {
	t.Helper()
	feeds := []feed.Feed{feed.ClicksBlocked, feed.MessagesBlocked}
	have := make(map[string]bool)
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, ".lock") {
			continue
		}
		rows := rowsOf(t, name, false)
		for _, f := range feeds {
			for _, row := range rows[f.Table()] {
				key, err := tapsim.NaturalKey(f, row)
				if err != nil {
					t.Fatal(err)
				}
				have[string(f)+" "+key] = true
			}
		}
	}
	missing := 0
	for truth := range w.sim.Truth(w.sim.Epoch(), at) {
		if !truth.Visible.After(at) && (truth.Feed == feeds[0] || truth.Feed == feeds[1]) && !have[string(truth.Feed)+" "+truth.Key] {
			missing++
		}
	}
	return missing
}
