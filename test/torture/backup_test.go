package torture

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/bus/embedded"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/tier"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// tapctlOf is the program tapctl for a server.
type tapctlOf struct {
	*embedded.Server
	bus  *bus.Bus
	path string
	url  string // empty if the program is its own server
	// passes are those of a step that are killed at, if it is passed so often: there are ten parts.
	passes []int
}

func newTapctl(t *testing.T, path string) *tapctlOf {
	t.Helper()
	s, err := embedded.Start(embedded.Options{Dir: bustest.Dir(t), NoSync: true, Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	p := &tapctlOf{Server: s, bus: bustest.Connect(t, s), path: path, url: s.URL(), passes: tier.Pick([]int{1}, []int{1, 10}, []int{1, 4, 10})}
	if err := p.bus.Setup(t.Context(), bustest.Limits, quota.Seeds("main")); err != nil {
		t.Fatal(err)
	}
	return p
}

// outcome is how a process ended.
type outcome struct {
	status int
	killed bool
	said   string
}

// run runs the program, and kills it after a time unless that is zero. A file has its steps.
func (p *tapctlOf) run(t *testing.T, environ []string, after time.Duration, args ...string) outcome {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), p.path, args...)
	cmd.Env = append([]string{"NATS_URL=" + p.url}, environ...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if after > 0 {
		timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return outcome{cmd.ProcessState.ExitCode(), ok && status.Signaled() && status.Signal() == syscall.SIGKILL, said.String()}
}

// must runs the program to its end, which is a success.
func (p *tapctlOf) must(t *testing.T, args ...string) string {
	t.Helper()
	o := p.run(t, nil, 0, args...)
	if o.status != 0 {
		t.Fatalf("tapctl %v: %+v", args, o)
	}
	return o.said
}

// contents are the messages of each stream, byte by byte, each at its place, and how far the
// shippers are. Of QUOTA and LEDGER, which a restore writes, only the last of each key counts.
func (p *tapctlOf) contents(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	for _, name := range bus.Parts() {
		messages := make(map[string]string)
		for _, m := range bustest.Messages(t, p.Server, name) {
			key, value := fmt.Sprintf("%d %s", m.Sequence, m.Subject), fmt.Sprintf("%s %x", m.Header, sha256.Sum256(m.Data))
			switch name {
			case "KV_" + bus.BucketLedger:
				key, value = m.Subject, fmt.Sprintf("%x", sha256.Sum256(m.Data))
			case "KV_" + bus.BucketQuota:
				calls := &taplinev1.QuotaState{}
				if err := proto.Unmarshal(m.Data, calls); err != nil {
					t.Fatal(err)
				}
				calls.Last = nil // when it was looked at
				key, value = m.Subject, fmt.Sprint(calls)
			}
			messages[key] = value
		}
		fmt.Fprintf(&text, "%s: %d messages\n", name, len(messages))
		for _, key := range slices.Sorted(maps.Keys(messages)) {
			fmt.Fprintf(&text, "%s %s\n", key, messages[key])
		}
	}
	for _, c := range []bus.Consumer{bus.ConsumerShipper, bus.ConsumerEnricher} {
		left, err := p.bus.Backlog(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "%s: %d done, %d wait, %d in work\n", c.Name, left.Done, left.Waiting, left.InWork)
	}
	return text.String()
}

// fill fills the streams: a shipper has done a part, and a letter is about a missing message.
func (p *tapctlOf) fill(t *testing.T) {
	t.Helper()
	hour := time.Now().UTC().Truncate(time.Hour)
	id := job.ID{Tenant: "main", Set: feed.Set{feed.ClicksBlocked}, Window: window.New(hour.Add(-time.Hour), hour), Lane: taplinev1.Lane_LANE_LIVE}
	for i := range 30 {
		letter := &taplinev1.DeadLetter{Tenant: "main", Stage: "shipper", Feed: "clicksBlocked", Source: fmt.Sprintf("EVENTS/%d", i+20)}
		if err := p.bus.PublishDead(t.Context(), letter, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		rows := batch.Events{Tenant: "main", Table: feed.ClicksBlocked.Table(), Feed: string(feed.ClicksBlocked), JobID: id.String(), SourceSequence: uint64(i + 1)}
		rows.Events = []batch.Event{{ID: []byte("x"), PullMS: hour.UnixMilli(), JSON: fmt.Appendf(nil, `{"n":%d,"text":%q}`, i, strings.Repeat("x", 10_000))}}
		meta := bus.EventMeta{Tenant: "main", Table: rows.Table, MsgID: fmt.Sprint(i)}
		if _, err := p.bus.PublishEvents(t.Context(), batch.AppendEvents(nil, &rows), meta); err != nil {
			t.Fatal(err)
		}
	}
	state, err := p.bus.Bucket(t.Context(), bus.BucketState)
	if err == nil {
		_, err = state.Create(t.Context(), "main.x", []byte("1"))
	}
	if err != nil {
		t.Fatal(err)
	}
	raw := batch.AppendRawHeader(nil, &batch.Raw{Tenant: "main", Feed: string(feed.ClicksBlocked), JobID: id.String(), Window: id.Window})
	marker, err := proto.Marshal(&taplinev1.JobResult{JobId: id.String(), Tenant: "main", Window: id.Window.Proto(), Lane: id.Lane, Batches: 10})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.bus.StoreJob(t.Context(), bus.JobOutput{Tenant: "main", JobID: id.String(), Marker: marker, Batches: func(yield func(bus.RawMessage, error) bool) {
		for range 10 {
			if !yield(bus.RawMessage{Feed: string(feed.ClicksBlocked), Data: batch.Pack(nil, raw)}, nil) {
				return
			}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	p.work(t, bus.ConsumerShipper, 20)
	p.work(t, bus.ConsumerEnricher, 10)
}

// work acknowledges messages.
func (p *tapctlOf) work(t *testing.T, c bus.Consumer, n int) {
	t.Helper()
	sub, err := p.bus.Subscribe(t.Context(), c, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Stop()
	for range n {
		d, err := sub.Next(t.Context())
		if err == nil {
			err = d.Ack()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// busy makes a backup one during which the enricher worked: it had done less when the backup began.
func busy(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "manifest.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	floor := regexp.MustCompile(`("consumer": "enricher",\s*"done": )10\b`)
	if !floor.Match(data) {
		t.Fatalf("no floor of an enricher in %s", data)
	}
	if err := os.WriteFile(path, floor.ReplaceAll(data, []byte("${1}3")), 0o600); err != nil {
		t.Fatal(err)
	}
}

// stepsOf are the named steps of backups that begin so.
func stepsOf(t *testing.T, prefix string) (names []string) {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	steps, err := Steps(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		if s.Program == backups && strings.HasPrefix(s.Name, prefix) {
			names = append(names, s.Name)
		}
	}
	if len(names) < 3 {
		t.Fatalf("steps %v", names)
	}
	return names
}

// killed runs the program repeatedly, each time with another end: at each pass of each step, then
// at random moments. judge checks what a killed one left, and whole what a finished one left.
func (p *tapctlOf) killed(t *testing.T, prefix string, args func() []string, judge func(where string, o outcome)) {
	t.Helper()
	for _, name := range stepsOf(t, prefix) {
		for _, pass := range p.passes {
			where := fmt.Sprintf("%s:%d", name, pass)
			o := p.run(t, []string{"TAPLINE_KILL=" + where}, 0, args()...)
			judge(where, o)
			if !o.killed {
				if pass == 1 || o.status != 0 {
					t.Errorf("tapctl was not killed at %s: %+v", where, o)
				}
				break
			}
		}
	}
	began := time.Now()
	judge("no step", p.run(t, nil, 0, args()...))
	took, killed, moments := time.Since(began), 0, tier.Pick(1, 1, 6)
	random := rand.New(rand.NewPCG(tier.Seed(t), 0))
	for range moments {
		after := 1 + time.Duration(random.Int64N(int64(took)))
		o := p.run(t, nil, after, args()...)
		judge("a random moment, "+after.String(), o)
		if o.killed {
			killed++
		}
	}
	t.Logf("%s: %d of %d killed at random moments", prefix, killed, moments)
}

// TestAKilledBackup: whatever a tapctl leaves that was killed while it wrote a backup, it is whole,
// or it is refused as none; and what restores it, killed too and done again, makes all as it was.
func TestAKilledBackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := build(t.Context(), dir, []string{folderOf("tapctl")}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "tapctl")
	source := newTapctl(t, path)
	source.fill(t)
	n, whole := 0, ""
	last := func() string { return filepath.Join(dir, fmt.Sprint("backup", n)) }
	source.killed(t, "backup.", func() []string { n++; return []string{"backup", last()} }, func(where string, o outcome) {
		check := source.run(t, nil, 0, "restore", "--check", last())
		_, err := os.Stat(filepath.Join(last(), "manifest.json"))
		switch {
		case err == nil && check.status == 0: // it was written to its end
			whole = last()
			again := source.run(t, nil, 0, "backup", last())
			if again.status != 1 || !strings.Contains(again.said, "folder of its own") {
				t.Errorf("over a backup: %+v", again)
			}
		case !o.killed || err == nil || check.status != 1 || !strings.Contains(check.said, "no backup in") || !strings.Contains(check.said, "incomplete"):
			t.Errorf("killed at %s: %+v, then check: %+v, manifest: %v", where, o, check, err)
		}
	})
	if whole == "" {
		t.Fatal("no backup is whole")
	}
	busy(t, whole)
	order := []string{"restore", whole, "--force", "--stopped", time.Now().UTC().Format(time.RFC3339Nano)}
	clean := newTapctl(t, path)
	told, want := clean.must(t, order...), clean.contents(t)
	if have, was := parts(want), parts(source.contents(t)); have[bus.StreamEvents] != was[bus.StreamEvents] || have["KV_"+bus.BucketState] != was["KV_"+bus.BucketState] {
		t.Error("what was restored is not what was backed up")
	}
	if !strings.Contains(told, closes) || !strings.Contains(told, "letters about messages that are not in the backup") {
		t.Errorf("restore says %s", told)
	}
	t.Run("of a server", func(t *testing.T) {
		t.Parallel()
		target := newTapctl(t, path)
		target.restoreKilled(t, order, want, target.contents)
	})
	t.Run("of a data directory", func(t *testing.T) { // tapctl is the server, too, which is killed with it
		t.Parallel()
		target, data := &tapctlOf{path: path, passes: []int{1}}, filepath.Join(bustest.Dir(t), "data")
		target.restoreKilled(t, append(order, "--data-dir", data), want, func(t *testing.T) string {
			t.Helper()
			s, err := embedded.Start(embedded.Options{Dir: filepath.Join(data, "nats"), Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Stop()
			b, err := s.Connect("test")
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			return (&tapctlOf{Server: s, bus: b}).contents(t)
		})
	})
}

// closes is what a restore says of each pool that it closes.
const closes = "is closed until"

// restoreKilled kills what restores a backup.
func (p *tapctlOf) restoreKilled(t *testing.T, order []string, want string, contents func(*testing.T) string) {
	t.Helper()
	p.killed(t, "restore.", func() []string { return order }, func(where string, o outcome) {
		if o.killed {
			p.startedAfter(t, where, want)
			if again := p.must(t, order...); !strings.Contains(again, closes) {
				t.Errorf("killed at %s: the next one closes no pool: %s", where, again)
			}
		}
		if have := contents(t); have != want {
			t.Fatalf("killed at %s, and done again: %s", where, difference(have, want))
		}
	})
}

// startedAfter does what a host does that starts again after a restore was killed. Either all is in
// its place, but for what the ledger derives, or there is no ledger, without which no stage begins,
// and setup makes none.
func (p *tapctlOf) startedAfter(t *testing.T, where, want string) {
	t.Helper()
	if p.url == "" {
		return
	}
	setup := p.run(t, nil, 0, "setup")
	if _, err := p.bus.Bucket(t.Context(), bus.BucketLedger); errors.Is(err, bus.ErrNotSetUp) {
		if setup.status == 0 || !strings.Contains(setup.said, "run tapctl restore again") {
			t.Errorf("killed at %s: setup says %+v", where, setup)
		}
		return
	} else if err != nil {
		t.Fatal(err)
	}
	have, wanted := parts(p.contents(t)), parts(want)
	for _, name := range bus.Parts() {
		if name != "KV_"+bus.BucketLedger && have[name] != wanted[name] {
			t.Errorf("killed at %s, and set up: %s", where, difference(have[name], wanted[name]))
		}
	}
}

// difference is the first line of contents that is not as it should be.
func difference(have, want string) string {
	lines := strings.Split(want, "\n")
	for i, line := range strings.Split(have, "\n") {
		if i >= len(lines) || line != lines[i] {
			return fmt.Sprintf("%q, not %q", line, lines[min(i, len(lines)-1)])
		}
	}
	return "the end is missing"
}

// parts cuts contents into those of each stream.
func parts(contents string) map[string]string {
	list, name := make(map[string]string), ""
	for line := range strings.Lines(contents) {
		if head, _, ok := strings.Cut(line, ": "); ok && slices.Contains(bus.Parts(), head) {
			name = head
		}
		list[name] += line
	}
	return list
}
