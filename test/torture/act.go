package torture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/tapsim"
)

var (
	errVerb = errors.New("unknown action")
	errRow  = errors.New("unusable row")
)

// play lets the actions of a plan happen, each at its time, and returns when all have ended.
func (w *world) play(ctx context.Context, p Plan) {
	var wg sync.WaitGroup
	defer wg.Wait()
	start := time.Now()
	var mu sync.Mutex
	under := "nothing"
	w.rows.mu.Lock()
	w.rows.why = func() string {
		mu.Lock()
		defer mu.Unlock()
		return under
	}
	w.rows.mu.Unlock()
	for _, a := range p.Actions {
		if a.Verb == besiege { // it comes when all others are over
			continue
		}
		if !sleep(ctx, time.Until(start.Add(a.At))) {
			return
		}
		mu.Lock()
		under = a.Kind()
		mu.Unlock()
		w.log("%s", a)
		wg.Go(func() {
			if err := w.act(ctx, a); err != nil {
				w.wrong("action %s: %v", a, err)
			}
		})
	}
	sleep(ctx, time.Until(start.Add(p.Length)))
}

// sleep waits, and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// act does one thing and takes it back.
func (w *world) act(ctx context.Context, a Action) error {
	switch a.Verb {
	case kill, term, pause, scale, jump:
		return w.actOnProcess(ctx, a)
	case cut, freeze, refuse:
		p := w.proxies[a.Target]
		if p == nil {
			return errVerb
		}
		p.refuse(a.Verb == refuse)
		p.freeze(a.Verb == freeze)
		if a.Verb != freeze {
			p.cut()
		}
		sleep(ctx, a.For)
		p.refuse(false)
		if a.Verb == freeze {
			p.cut()
		}
		p.freeze(false)
		return nil
	case tap:
		return w.faultAPI(ctx, a)
	case poison:
		return w.poisonInstant(ctx, a)
	case sink:
		return w.faultSink(ctx, a)
	case renew:
		return w.renew(ctx, a)
	case again:
		return w.replay(ctx, a)
	case powercut, corrupt:
		return w.powercut(ctx, a)
	case full:
		return w.fill(ctx, a)
	case diskfull:
		return w.fillDisk(ctx, a)
	case taken:
		return w.takeOver(ctx, a)
	}
	return errVerb
}

func (w *world) actOnProcess(ctx context.Context, a Action) error {
	p := w.processes[a.Target]
	if p == nil {
		return errVerb
	}
	switch a.Verb {
	case kill:
		p.end(syscall.SIGKILL)
		sleep(ctx, a.For)
		return p.start()
	case term:
		p.end(syscall.SIGTERM)
		sleep(ctx, a.For)
		return p.start()
	case pause:
		p.signal(syscall.SIGSTOP)
		sleep(ctx, a.For)
		p.signal(syscall.SIGCONT)
		return nil
	case scale:
		if err := p.start(); err != nil {
			return err
		}
		sleep(ctx, a.For)
		p.end(syscall.SIGTERM)
		return nil
	}
	offset, err := time.ParseDuration(a.Arg)
	if err != nil {
		return fmt.Errorf("%w: %w", errVerb, err)
	}
	if err := w.clock.set(a.Target, offset); err != nil {
		return err
	}
	sleep(ctx, a.For)
	return w.clock.set(a.Target, 0)
}

func (w *world) faultAPI(ctx context.Context, a Action) error {
	if status, err := strconv.Atoi(a.Arg); err == nil {
		return w.refuseCalls(ctx, a, status)
	}
	if faults := oddity(a.Arg, a.At); faults != nil {
		return w.inject(ctx, a, faults)
	}
	f := tapsim.Fault{Kind: tapsim.FaultKind(a.Arg), Probability: 0.7}
	switch f.Kind {
	case tapsim.FaultStatus, tapsim.FaultHTML:
		f.Status = []int{500, 502, 503, 504}[a.At.Milliseconds()%4]
	case tapsim.FaultSlow, tapsim.FaultDrip:
		f.Delay = a.For // sometimes longer than the fetcher waits
	default:
	}
	return w.inject(ctx, a, []tapsim.Fault{f})
}

// refuseCalls has the API answer a few calls of each kind with a status after which jobs wait for
// minutes. A list is not answered with 404: that says that there is nothing in it. After a 404 of
// windows they wait by the clock of the world, after a 429 until the day's calls come back, as far
// as others seem to have used them.
func (w *world) refuseCalls(ctx context.Context, a Action, status int) error {
	var faults []tapsim.Fault
	for _, path := range []string{feed.SIEMAll.Path, "/v2/threat/summary/", "/v2/campaign/", "/v2/forensics"} {
		faults = append(faults, tapsim.Fault{Kind: tapsim.FaultStatus, Status: status, Path: path, Count: 2})
	}
	return w.inject(ctx, a, faults)
}

// untilRead is how long a sink may take to read what its kernel has acknowledged, when it reads
// again.
const untilRead = 10 * time.Second

func (w *world) faultSink(ctx context.Context, a Action) error {
	f := devosink.Fault{Kind: devosink.FaultKind(a.Arg)}
	switch f.Kind {
	case devosink.FaultReset, devosink.FaultFIN, devosink.FaultStall:
		f.Bytes = a.At.Milliseconds() % 50_000
	case devosink.FaultCut: // rows have a few hundred bytes to a few thousand
		f.Bytes = 50 + a.At.Milliseconds()%1500
	case devosink.FaultSlow:
		f.Delay = 100 * time.Millisecond
	case devosink.FaultStatus, devosink.FaultEndless:
		f.Bytes = []int64{429, 500, 503, 504}[a.At.Milliseconds()%4]
	default:
	}
	if w.profile.Sink == Acked && (f.Kind == devosink.FaultStall || f.Kind == devosink.FaultSlow) {
		w.mu.Lock()
		w.unread = time.Now().Add(a.For + untilRead)
		w.mu.Unlock()
	}
	if err := w.sink.Inject(f); err != nil {
		return err
	}
	sleep(ctx, a.For)
	return w.sink.Clear()
}

// renew changes what lets the pipeline in somewhere. A secret is read at the start: the old one
// is good until every fetcher has started again.
func (w *world) renew(ctx context.Context, a Action) error {
	switch a.Target {
	case "certificates":
		return w.trust.renew()
	case "password":
		return w.newPassword(a.Arg)
	}
	w.gate.renew()
	for _, name := range []string{"fetcher-0", "fetcher-1"} {
		p := w.processes[name]
		p.signal(syscall.SIGCONT)
		p.end(syscall.SIGTERM)
		if err := p.start(); err != nil {
			return err
		}
	}
	if sleep(ctx, 3*time.Second) && w.processes["fetcher-2"].running() == nil {
		w.gate.revoke()
	}
	return nil
}

// replay orders what is in the streams once more. The order may fail while the broker is away.
func (w *world) replay(ctx context.Context, a Action) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cmd := w.tapctl(ctx, "replay", "--from", "10m", "--detach", a.Arg)
	out, err := cmd.CombinedOutput()
	w.log("tapctl replay %s: %v %.200s", a.Arg, err, out)
	return nil
}

// tapctl is a call of the program that reaches the broker past all proxies.
func (w *world) tapctl(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(w.dir, "bin", "tapctl"), args...) //nolint:gosec // our own program
	cmd.Env = append(w.users.environ(bus.UserAdmin), "NATS_URL=nats://127.0.0.1:"+strconv.Itoa(w.natsPort))
	return cmd
}

// roomy are the limits of streams that never fill up.
func (w *world) roomy() bus.Limits {
	return bus.Limits{RawMaxBytes: 8 << 30, EventsMaxBytes: 8 << 30, Replicas: 1, AckWait: w.profile.AckWait}
}

// connect reaches the broker past all proxies.
func (w *world) connect(ctx context.Context) (*bus.Bus, error) {
	return bus.Connect(ctx, bus.Config{
		URL: "nats://127.0.0.1:" + strconv.Itoa(w.natsPort), User: bus.UserAdmin, PasswordFile: w.users.file(bus.UserAdmin),
	}, "torture", slog.New(slog.DiscardHandler))
}

func (w *world) setup(ctx context.Context, limits bus.Limits) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		b, err := w.connect(ctx)
		if err != nil {
			return err
		}
		err = b.Setup(ctx, limits, quota.Seeds("main"))
		b.Close()
		if err == nil || !sleep(ctx, 300*time.Millisecond) {
			return err
		}
	}
}

// fill leaves a stream almost no room for a while.
func (w *world) fill(ctx context.Context, a Action) error {
	b, err := w.connect(ctx)
	if err != nil {
		return err
	}
	usage, err := b.Usage(ctx, a.Target)
	b.Close()
	if err != nil {
		return err
	}
	limits := w.roomy()
	switch a.Target {
	case bus.StreamRaw:
		limits.RawMaxBytes = int64(usage.Bytes) + 8<<10
	case bus.StreamEvents:
		limits.EventsMaxBytes = int64(usage.Bytes) + 8<<10
	default:
		return errVerb
	}
	err = w.setup(ctx, limits)
	if err == nil {
		sleep(ctx, a.For)
		err = w.setup(ctx, w.roomy())
	}
	if errors.Is(err, context.DeadlineExceeded) { // other actions took the broker away again and again; healing makes room
		w.log("cannot change the room of %s: %v", a.Target, err)
		return nil
	}
	return err
}
