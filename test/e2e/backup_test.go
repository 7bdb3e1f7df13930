package e2e_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/overview"
)

// siemCalls counts what a pipeline has asked the SIEM endpoints.
func (p *pipeline) siemCalls(t *testing.T) (n int) {
	t.Helper()
	families, err := p.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == "tapline_fetcher_calls_total" && l.GetName() == "endpoint" && strings.HasPrefix(l.GetValue(), "/v2/siem/") {
					n += int(m.GetCounter().GetValue())
				}
			}
		}
	}
	return n
}

// TestBackupWipeRestore: a pipeline is backed up while it runs, continues, and loses its disk.
// Restored, it makes no call whose budget is unknown; with pools that are known, it brings
// everything that was not delivered when the backup was taken, whether it was under way then or
// fetched later; no 429 is self-made, and the account adds up.
func TestBackupWipeRestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	address, folder := freeAddress(t), w.dir+"/backup"
	o := operator{t, []string{"NATS_URL=nats://" + address}}
	p := w.run(t, "NATS_LISTEN="+address)
	w.complete(t, w.sim.Now().Add(-20*time.Minute)) // much is under way still
	if code, out := o.run("backup", folder); code != 0 || !strings.Contains(out, "copied RAW") {
		t.Fatalf("status %d: %s", code, out)
	}
	before := maps.Clone(w.delivered(t))
	w.complete(t, w.sim.Now())
	p.stop()
	if err := os.RemoveAll(w.dir + "/data"); err != nil {
		t.Fatal(err)
	}
	w.sink.Reset()
	w.have, w.read = before, 0

	if code, out := o.run("restore", folder, "--data-dir", w.dir+"/data"); code != 0 || !strings.Contains(out, "pool siem of tenant main is closed") {
		t.Fatalf("status %d: %s", code, out)
	}
	p = w.run(t)
	again := w.sim.Now()
	poll(t, "time for ten calls", func() bool { return w.sim.Now().Sub(again) > 10*time.Minute })
	p.stop()
	if n := p.siemCalls(t); n > 0 {
		t.Errorf("%d calls that nobody knows to be free", n)
	}

	// The limits have room for what was called meanwhile, so that the pools may be taken as they
	// were.
	o.run("restore", folder, "--data-dir", w.dir+"/data", "--force", "--stopped", "24h")
	p = w.run(t, "NATS_LISTEN="+address)
	w.complete(t, w.sim.Now())
	if p.siemCalls(t) == 0 {
		t.Error("everything is there without a call; the test proves nothing")
	}
	for pool, q := range w.sim.Status().Quota {
		if q.Refused > 0 {
			t.Errorf("%d calls beyond the limit of %s", q.Refused, pool)
		}
	}
	var report *overview.Report
	t.Cleanup(func() { t.Logf("verify: %+v", report) })
	poll(t, "an account that adds up", func() bool {
		report = w.verify(t, address)
		return report.Good()
	})
	p.stop()
	if code, out := o.run("backup", folder+"2", "--data-dir", w.dir+"/data"); code != 0 || !strings.Contains(out, "copied QUOTA") {
		t.Errorf("of what is stopped: status %d: %s", code, out)
	}
	entries, err := os.ReadDir(folder + "2")
	if err != nil || !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == "manifest.json" }) {
		t.Errorf("%v, %v", entries, err)
	}
}
