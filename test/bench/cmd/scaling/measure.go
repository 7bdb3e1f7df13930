package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// sample is what one pipeline did in one span of time.
type sample struct {
	Rows    int64              // confirmed
	Twice   int64              // rows that the sink has more than once
	Seconds float64            // from the start of the pipeline to its last row, or how long it was watched
	Calls   int64              // for records
	RowSize float64            // bytes at the sink
	CPU     map[string]float64 // seconds of a core, by program
	Memory  map[string]float64 // MiB of the largest process of a program: at its peak, or at the end
	Disk    map[string]float64 // bytes of a stream in its files
}

var (
	errBusy       = errors.New("not at rest")
	errIncomplete = errors.New("rows are missing at the sink")
)

// pointLimit is how long the slowest point may take.
const pointLimit = 60 * time.Second

// fill waits until all records that were read are at the sink and confirmed, compares
// with the simulator's truth, and tells what that took.
func (p *pipeline) fill(ctx context.Context) (sample, error) {
	rows, last := int64(0), p.began
	var s sample
	err := until(ctx, pointLimit, func() error {
		for _, one := range p.processes {
			if err := one.alive(); err != nil {
				return err
			}
		}
		at, err := p.atSink(ctx)
		if err != nil {
			return err
		}
		s.RowSize = at.Size
		if at.Rows != rows {
			rows, last = at.Rows, time.Now()
		}
		if rows == 0 || time.Since(last) < 400*time.Millisecond {
			return errBusy // reading metrics costs time, so not while rows arrive
		}
		return p.settled(ctx, rows, &s)
	})
	if err != nil {
		return s, err
	}
	s.Seconds = last.Sub(p.began).Seconds()
	if s.CPU, err = p.cpu(); err != nil {
		return s, err
	}
	if s.Memory, err = p.memory("VmHWM"); err != nil {
		return s, err
	}
	s.Disk, err = p.disk()
	return s, err
}

// settled returns no error when nothing is under way and the sink has what the simulator made up to
// the end of what was read.
func (p *pipeline) settled(ctx context.Context, rows int64, s *sample) error {
	read, confirmed, pending := 0.0, 0.0, 0.0
	for _, one := range p.processes {
		if one.program == "natsserver" {
			continue
		}
		metrics, err := one.metrics(ctx)
		if err != nil {
			return err
		}
		for name, v := range metrics {
			siem := strings.Contains(name, `feed="clicks`) || strings.Contains(name, `feed="messages`)
			switch {
			case strings.HasPrefix(name, "tapline_fetcher_records_total") && siem && strings.Contains(name, `fate="new"`):
				read += v
			case strings.HasPrefix(name, "tapline_shipper_events_confirmed_total") && strings.Contains(name, "tapsiem"):
				confirmed += v
			case strings.HasPrefix(name, "tapline_scheduler_jobs_outstanding"), name == "tapline_scheduler_backfill_remaining_seconds":
				pending += v
			}
		}
	}
	if read == 0 || pending > 0 || confirmed < read || float64(rows) < read {
		return fmt.Errorf("%w: %.0f read, %.0f confirmed, %d at the sink, %.0f pending", errBusy, read, confirmed, rows, pending)
	}
	made, err := p.truth(ctx)
	if err != nil {
		return err
	}
	if rows < made {
		return fmt.Errorf("%w: %d made, %d there", errIncomplete, made, rows)
	}
	s.Rows, s.Twice = made, rows-made
	return p.calls(ctx, s)
}

// truth counts the records of all windows that the ledger calls read.
func (p *pipeline) truth(ctx context.Context) (int64, error) {
	text, err := p.tapctl(ctx, "ledger", "--output", "json")
	if err != nil {
		return 0, err
	}
	var lines []struct {
		To      time.Time `json:"to"`
		Feed    string    `json:"feed"`
		Fetched time.Time `json:"fetched"`
	}
	if err := json.Unmarshal(text, &lines); err != nil {
		return 0, fmt.Errorf("read the ledger: %w", err)
	}
	var head time.Time
	for _, l := range lines {
		if !l.Fetched.IsZero() && l.To.After(head) && (strings.HasPrefix(l.Feed, "clicks") || strings.HasPrefix(l.Feed, "messages")) {
			head = l.To
		}
	}
	return p.made(ctx, head)
}

func (p *pipeline) calls(ctx context.Context, s *sample) error {
	text, err := get(ctx, p.simURL+"/_sim/status")
	if err != nil {
		return err
	}
	var status struct {
		Quota map[string]struct {
			Used int64 `json:"used"`
		} `json:"quota"`
	}
	if err := json.Unmarshal(text, &status); err != nil {
		return fmt.Errorf("status of the simulator: %w", err)
	}
	s.Calls = status.Quota["siem"].Used
	return nil
}

// standIn is the name under which processor time of simulator and sink is booked.
const standIn = "stand-ins"

// cpu is what has been used so far, by program.
func (p *pipeline) cpu() (map[string]float64, error) {
	used := make(map[string]float64)
	for _, one := range p.processes {
		v, err := one.cpu()
		if err != nil {
			return nil, err
		}
		used[one.program] += v
	}
	for _, one := range p.standIns {
		v, err := one.cpu()
		if err != nil {
			return nil, err
		}
		used[standIn] += v
	}
	return used, nil
}

// memory is that of the largest process of each program.
func (p *pipeline) memory(line string) (map[string]float64, error) {
	largest := make(map[string]float64)
	for _, one := range p.processes {
		v, err := one.memory(line)
		if err != nil {
			return nil, err
		}
		largest[one.program] = max(largest[one.program], v)
	}
	return largest, nil
}

// disk is what the files of the large streams take.
func (p *pipeline) disk() (map[string]float64, error) {
	sizes := make(map[string]float64)
	err := filepath.WalkDir(filepath.Join(p.dir, "data", "nats"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return skipGone(err)
		}
		info, err := entry.Info()
		if err != nil {
			return skipGone(err)
		}
		for _, stream := range []string{"RAW", "EVENTS"} {
			if slices.Contains(strings.Split(path, string(filepath.Separator)), stream) {
				sizes[stream] += float64(info.Size())
			}
		}
		return nil
	})
	return sizes, err
}

// skipGone forgives that the server removes files meanwhile.
func skipGone(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// watch tells what pipelines that have read everything do for a while.
func watch(ctx context.Context, all []*pipeline, length time.Duration) ([]sample, error) {
	before := make([]sample, len(all))
	for i, p := range all {
		var err error
		if before[i], err = p.look(ctx); err != nil {
			return nil, err
		}
	}
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	after := make([]sample, len(all))
	for i, p := range all {
		s, err := p.look(ctx)
		if err != nil {
			return nil, err
		}
		for program := range s.CPU {
			s.CPU[program] -= before[i].CPU[program]
		}
		s.Rows, s.Seconds = s.Rows-before[i].Rows, length.Seconds()
		if s.Memory, err = p.memory("VmRSS"); err != nil {
			return nil, err
		}
		after[i] = s
	}
	return after, nil
}

func (p *pipeline) look(ctx context.Context) (sample, error) {
	at, err := p.atSink(ctx)
	if err != nil {
		return sample{}, err
	}
	cpu, err := p.cpu()
	return sample{Rows: at.Rows, RowSize: at.Size, CPU: cpu}, err
}
