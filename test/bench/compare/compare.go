package compare

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tapline/tapline/services/devosink/devocert"
	"github.com/tapline/tapline/test/acceptance/interop"
	"github.com/tapline/tapline/test/torture"
)

// Options of a comparison.
type Options struct {
	Dir       string // for everything; on a disk, or syncing costs nothing
	Installed interop.Installed
	Rows      int // to drain
	Through   int // rows through a store on disk, which is slower
	Runs      int
	Only      string // names of ways must contain this
	Patience  time.Duration
	Log       func(format string, args ...any)
}

// Run is one run of one way.
type Run struct {
	Rows    int           // how many were sent
	Arrived time.Duration // until the last row was at the sink
	Took    time.Duration // the same, or until the way had confirmed everything if it does that
	CPU     time.Duration // of all processes of the way; 0 if it has none
	Peak    int64         // resident bytes, added up over its processes
	Difference
}

// Result is all runs of one way.
type Result struct {
	Name, Class string
	Runs        []Run
}

// bench is a comparison under way.
type bench struct {
	Options
	certs    devocert.Files
	server   *tls.Config
	programs string
	rows     map[string]rows // by class
}

// Compare measures every way so many times, in turn, so that other load on the machine meets all of
// them.
func Compare(ctx context.Context, o Options) ([]Result, error) {
	b := &bench{Options: o, programs: filepath.Join(o.Dir, "bin"), rows: map[string]rows{}}
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	var results []Result
	var chosen []way
	for _, w := range ways() {
		if strings.Contains(w.name, o.Only) {
			chosen = append(chosen, w)
			results = append(results, Result{Name: w.name, Class: w.class})
		}
	}
	for range o.Runs {
		for i, w := range chosen {
			run, err := b.run(ctx, w)
			if err != nil {
				return results, fmt.Errorf("%s, %s: %w", w.name, w.class, err)
			}
			results[i].Runs = append(results[i].Runs, run)
			o.Log("%-24s %-8s %s", w.name, w.class, run)
		}
	}
	return results, nil
}

// prepare makes what all runs share.
func (b *bench) prepare(ctx context.Context) error {
	if err := b.Installed.Check(); err != nil {
		return err
	}
	set, err := devocert.New(devocert.Options{})
	if err != nil {
		return err
	}
	if b.certs, err = set.Write(filepath.Join(b.Dir, "certs")); err != nil {
		return err
	}
	if b.server, err = set.Server(); err != nil {
		return err
	}
	if err := build(ctx, b.programs); err != nil {
		return err
	}
	for _, c := range []struct {
		class string
		count int
	}{{Drain, b.Rows}, {Through, b.Through}} {
		made, err := writeRows(ctx, filepath.Join(b.Dir, "rows-"+c.class), c.count)
		if err != nil {
			return err
		}
		b.Log("%s: %d rows of %d bytes", c.class, made.count, made.bytes/int64(made.count))
		b.rows[c.class] = made
	}
	return nil
}

// build compiles our own programs, as `make build` does.
func build(ctx context.Context, dir string) error {
	root, err := torture.Root()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", dir+"/", "./services/shipper/cmd/shipper", "./test/torture/cmd/natsserver") //nolint:gosec // our own programs
	cmd.Dir, cmd.Env = root, append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// run measures one way once.
func (b *bench) run(ctx context.Context, w way) (r Run, err error) {
	rows := b.rows[w.class]
	dir, err := os.MkdirTemp(b.Dir, "run-")
	if err != nil {
		return r, fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := listen(ctx, b.server, rows.count)
	if err != nil {
		return r, err
	}
	r, err = b.watch(ctx, w, s, scene{
		dir: dir, rows: rows, sink: s.address(), certs: b.certs, installed: b.Installed, programs: b.programs,
	})
	hashes, failed := s.close()
	r.Rows, r.Difference = rows.count, rows.compare(hashes)
	return r, errors.Join(err, failed)
}

// watch runs a way to its end. A drain begins when the sink has the first connection, so that no
// start counts; where rows enter a store on the way, it begins when they do.
func (b *bench) watch(ctx context.Context, w way, s *sink, at scene) (r Run, err error) {
	a, err := w.start(ctx, at)
	if a != nil {
		defer a.end()
	}
	if err != nil {
		return r, err
	}
	began := time.Now()
	before, err := a.used()
	if err != nil {
		return r, err
	}
	if err := b.wait(ctx, a, s, s.first); err != nil {
		return r, err
	}
	if w.class == Drain {
		began = s.began
		if before, err = a.used(); err != nil {
			return r, err
		}
	}
	if err := b.wait(ctx, a, s, s.all); err != nil && !errors.Is(err, errSilent) {
		return r, err
	}
	r.Arrived = time.Unix(0, s.last.Load()).Sub(began)
	r.Took = r.Arrived
	if a.confirmed != nil {
		ctx, cancel := context.WithTimeout(ctx, b.Patience)
		defer cancel()
		if err := a.confirmed(ctx); err != nil {
			return r, fmt.Errorf("wait for the confirmation: %w", err)
		}
		r.Took = max(r.Took, time.Since(began))
	}
	after, err := a.used()
	r.CPU, r.Peak = after.cpu-before.cpu, after.peak
	return r, err
}

var (
	errSilent = errors.New("no more rows come")
	errEnded  = errors.New("ended by itself")
)

// wait waits for a signal of the sink, for as long as rows come and the programs run.
func (b *bench) wait(ctx context.Context, a *attempt, s *sink, signal <-chan struct{}) error {
	lines, since := s.lines.Load(), time.Now()
	return poll(ctx, func() (bool, error) {
		select {
		case <-signal:
			return true, nil
		default:
		}
		for _, p := range a.processes {
			select {
			case <-p.done:
				return false, fmt.Errorf("%s %w: %s", p.name, errEnded, p.says())
			default:
			}
		}
		if now := s.lines.Load(); now != lines {
			lines, since = now, time.Now()
		}
		if time.Since(since) > b.Patience {
			return false, fmt.Errorf("%w after %d, for %s", errSilent, lines, b.Patience)
		}
		return false, nil
	})
}

// used adds up what the processes of a way have used.
func (a *attempt) used() (sum usage, err error) {
	for _, p := range a.processes {
		u, err := p.used()
		if err != nil {
			return sum, err
		}
		sum.cpu, sum.peak = sum.cpu+u.cpu, sum.peak+u.peak
	}
	return sum, nil
}
