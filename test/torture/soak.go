package torture

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Sample is one look at all processes.
type Sample struct {
	At          time.Duration // by the simulated clock, since the start
	RSS         map[string]float64
	Goroutines  map[string]float64
	Descriptors map[string]float64
	Disk        float64 // bytes of the broker's files
	Rows        int     // at the sink so far
}

// Soaked is what a soak found.
type Soaked struct {
	Result
	Span      time.Duration // by the simulated clock
	Factor    float64
	Samples   []Sample
	Freshness []time.Duration // of every record that became visible after the start, sorted, by the simulated clock
}

// Percentile of freshness, 0 to 100.
func (s *Soaked) Percentile(p float64) time.Duration {
	if len(s.Freshness) == 0 {
		return 0
	}
	return s.Freshness[min(len(s.Freshness)-1, int(float64(len(s.Freshness))*p/100))]
}

// soaking is a usual world: default limits, all feeds, a week to catch up with, less what is no
// longer served before the programs have started and caught up.
func soaking(factor float64) Profile {
	return Profile{
		Sink: Acked, Factor: factor, Rate: 0.1, Age: 7*24*time.Hour - 4*time.Hour, Late: 0.01, Limit: 1800, Forensics: true, Batch: 500,
		Sweeps: "35m,6h,24h", AckWait: 15 * time.Second, InFlight: 32 << 20, People: []int{14, 30, 90}, Service: services()[0], Work: AllWork,
	}
}

// Soak lets a pipeline run undisturbed for a span of the simulated clock.
func Soak(ctx context.Context, span time.Duration, factor float64, o Options) (*Soaked, error) {
	profile := soaking(factor)
	s := &Soaked{Result: Result{Profile: profile.String()}, Span: span, Factor: factor}
	w, err := open(ctx, 1, profile, o)
	if err != nil {
		return s, err
	}
	if err := errors.Join(w.setup(ctx, w.roomy()), w.start(single())); err != nil {
		return s, errors.Join(err, w.close())
	}
	start := w.sim.Now()
	real := time.Duration(float64(span) / factor)
	for next, end := time.Now(), time.Now().Add(real); next.Before(end); next = next.Add(real / 240) {
		if !sleep(ctx, time.Until(next)) {
			break
		}
		s.Samples = append(s.Samples, w.sample(ctx, w.sim.Now().Sub(start)))
	}
	w.judge(ctx, &s.Result)
	w.fresh(s, start)
	return s, w.close()
}

func (w *world) sample(ctx context.Context, at time.Duration) Sample {
	s := Sample{At: at, RSS: make(map[string]float64), Goroutines: make(map[string]float64), Descriptors: make(map[string]float64)}
	for _, name := range append(single(), broker) {
		p := w.processes[name]
		pid := p.pid()
		short := strings.TrimSuffix(name, "-0")
		s.RSS[short], s.Descriptors[short] = residentOf(pid), descriptorsOf(pid)
		if g, err := p.measure(ctx); err == nil && name != broker {
			s.Goroutines[short] = g.Goroutines
		}
	}
	_ = filepath.WalkDir(filepath.Join(w.dir, "store"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() { // files come and go meanwhile
			s.Disk += float64(size(path))
		}
		return nil
	})
	s.Rows, _, _, _ = w.rows.counts()
	return s
}

// fresh measures how long after it became visible each record was at the sink.
func (w *world) fresh(s *Soaked, start time.Time) {
	w.rows.mu.Lock()
	defer w.rows.mu.Unlock()
	for t := range w.sim.Truth(start, start.Add(s.Span)) {
		have := w.rows.siem[string(t.Feed)+" "+t.Key]
		if have == nil || t.Visible.Sub(t.Created) > time.Minute { // late ones are what sweeps are for
			continue
		}
		came := w.clock.shown.Add(time.Duration(float64(have.first.at.Sub(w.clock.real)) * w.clock.factor))
		s.Freshness = append(s.Freshness, came.Sub(t.Visible))
	}
	slices.Sort(s.Freshness)
}

func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// residentOf reads the resident memory of a process, in bytes.
func residentOf(pid int) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseFloat(fields[1], 64)
	if err != nil {
		return 0
	}
	return pages * float64(os.Getpagesize())
}

func descriptorsOf(pid int) float64 {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return 0
	}
	return float64(len(entries))
}
