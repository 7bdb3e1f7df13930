//go:build interop

package compare

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tapline/tapline/test/acceptance/interop"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func options(t *testing.T) Options {
	t.Helper()
	installed, err := filepath.Abs("../../../bin/interop")
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Dir: t.TempDir(), Installed: interop.Installed(installed), Rows: 700, Through: 300, Runs: 2, Patience: time.Minute, Log: t.Logf,
	}
}

// TestEachWayBringsEveryRow: a few hundred rows, each once and unaltered, by each way, and a line
// of the table for it.
func TestEachWayBringsEveryRow(t *testing.T) {
	results, err := Compare(t.Context(), options(t))
	if err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	if err := Table(&table, results); err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if !strings.Contains(table.String(), "| "+r.Name+" ") {
			t.Errorf("%s is not in the table:\n%s", r.Name, &table)
		}
		for _, run := range r.Runs {
			if run.Difference != (Difference{}) || run.Took < run.Arrived || run.Arrived <= 0 {
				t.Errorf("%s, %s: %+v", r.Name, r.Class, run)
			}
			if measured := run.Peak > 0; measured == strings.HasPrefix(r.Name, "bare") {
				t.Errorf("%s, %s: peak %d", r.Name, r.Class, run.Peak)
			}
		}
	}
	if len(results) != len(ways()) {
		t.Errorf("%d results of %d ways", len(results), len(ways()))
	}
}

// TestProgramsEndWithTheComparison: when it is interrupted, and when a program cannot work.
func TestProgramsEndWithTheComparison(t *testing.T) {
	o := options(t)
	b := &bench{Options: o, programs: filepath.Join(o.Dir, "bin"), rows: map[string]rows{}}
	if err := b.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, w := range ways() {
		ctx, cancel := context.WithCancel(t.Context())
		var started *attempt
		start := w.start
		w.start = func(ctx context.Context, s scene) (a *attempt, err error) {
			s.sink = "127.0.0.1:1" // nothing listens there
			started, err = start(ctx, s)
			cancel()
			return started, err
		}
		if _, err := b.run(ctx, w); err == nil {
			t.Errorf("%s, %s: no error", w.name, w.class)
		}
		if started == nil {
			t.Fatalf("%s, %s was not started", w.name, w.class)
		}
		for _, p := range started.processes {
			select {
			case <-p.done:
			default:
				t.Errorf("%s, %s: %s still runs", w.name, w.class, p.name)
			}
		}
	}
}

// TestDifferencesAreSeen: what is missing, altered or there twice is counted.
func TestDifferencesAreSeen(t *testing.T) {
	r := rows{want: map[uint64]int{1: 1, 2: 1, 3: 2}}
	if got, want := r.compare([]uint64{1, 1, 3, 9}), (Difference{Missing: 2, Altered: 1, Twice: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := r.compare([]uint64{3, 2, 1, 3}); got != (Difference{}) {
		t.Errorf("all of it: %+v", got)
	}
}
