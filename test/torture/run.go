package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

var errAccount = errors.New("it does not add up")

// Options of a run.
type Options struct {
	Bin string // the programs, see [Build]
	Dir string // an empty directory for logs and files of the run
	Log func(format string, args ...any)
}

// Run plays a plan. The error says that the run could not be made; what it found is in the result.
func Run(ctx context.Context, p Plan, o Options) (*Result, error) {
	profile := ProfileOf(p.Seed)
	r := &Result{Seed: p.Seed, Profile: profile.String(), Actions: len(p.Actions)}
	w, err := open(ctx, p.Seed, profile, o)
	if err != nil {
		return r, err
	}
	if err := errors.Join(w.writePlan(p), w.setup(ctx, w.roomy()), w.start(stageProcesses())); err != nil {
		return r, errors.Join(err, w.close())
	}
	before := w.gauges(ctx)
	wit, end := w.watch(ctx)
	w.play(ctx, p)
	err = w.heal(ctx)
	if err == nil {
		err = w.besiege(ctx, p, wit)
	}
	if err != nil {
		end()
		return r, errors.Join(err, w.close())
	}
	w.judge(ctx, r)
	wit.look(ctx)
	end()
	wit.report(r)
	if p.has(besiege) || w.profile.Calm {
		if err := w.relieved(ctx); err != nil {
			r.problem("%v", err)
		}
	}
	w.grown(ctx, before, r)
	return r, w.close()
}

// open makes the world of a run.
func open(ctx context.Context, seed uint64, profile Profile, o Options) (*world, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("torture: %w", err)
	}
	bin, err := filepath.Abs(o.Bin)
	if err != nil {
		return nil, fmt.Errorf("torture: %w", err)
	}
	if err := os.Symlink(bin, filepath.Join(o.Dir, "bin")); err != nil {
		return nil, fmt.Errorf("torture: %w", err)
	}
	return newWorld(ctx, o.Dir, seed, profile, o.Log)
}

func (w *world) writePlan(p Plan) error {
	file, err := os.Create(filepath.Join(w.dir, "plan"))
	if err != nil {
		return fmt.Errorf("torture: %w", err)
	}
	return errors.Join(p.Write(file), file.Close())
}

// heal takes back whatever may still be wrong.
func (w *world) heal(ctx context.Context) error {
	w.sim.Clear()
	if err := w.sink.Clear(); err != nil {
		return err
	}
	for _, p := range w.proxies {
		p.refuse(false)
		p.freeze(false)
	}
	for name, p := range w.processes {
		p.signal(syscall.SIGCONT)
		if name == broker {
			if err := p.start(); err != nil {
				return err
			}
			continue
		}
		if err := w.clock.set(name, 0); err != nil {
			return err
		}
	}
	if err := w.setup(ctx, w.roomy()); err != nil {
		return err
	}
	w.log("healed")
	return w.start(stageProcesses())
}

// gauges measures every process as soon as it answers.
func (w *world) gauges(ctx context.Context) map[string]gauges {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	all := make(map[string]gauges)
	for _, name := range stageProcesses() {
		for {
			g, err := w.processes[name].measure(ctx)
			if err == nil {
				all[name] = g
				break
			}
			if !sleep(ctx, 50*time.Millisecond) {
				break
			}
		}
	}
	return all
}

// What a process may have more than shortly after its start, when it has not done anything yet.
const (
	moreGoroutines  = 60
	moreDescriptors = 40
)

// grown compares what the processes hold now with what they held at their start.
func (w *world) grown(ctx context.Context, before map[string]gauges, r *Result) {
	for name, after := range w.gauges(ctx) {
		b := before[name]
		if b.Goroutines > 0 && after.Goroutines > b.Goroutines+moreGoroutines {
			r.problem("%s has %g goroutines, and had %g at its start", name, after.Goroutines, b.Goroutines)
		}
		if b.Descriptors > 0 && after.Descriptors > b.Descriptors+moreDescriptors {
			r.problem("%s has %g descriptors, and had %g at its start", name, after.Descriptors, b.Descriptors)
		}
	}
}
