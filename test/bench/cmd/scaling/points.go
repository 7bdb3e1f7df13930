package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// point is one measured setting: one pipeline, or several side by side.
type point struct {
	Group   string
	Name    string
	Setting setting
	Load    string   // of the machine before it
	Fill    []sample // of each tenant
	Elapsed float64  // seconds until the last of them had all of it
	Rest    []sample // the time after it, if it was watched
}

// plan is a point before it is measured.
type plan struct {
	name    string
	tenants int
	rest    time.Duration
	setting setting
}

// groups are what can be asked for, in the order in which it is measured.
var groups = []string{"rate", "tenants", "replicas", "memory"}

// restFor holds at least one live window: they come every 30 seconds, the shortest that Proofpoint
// serves.
const restFor = 35 * time.Second

// steady reads as often as Proofpoint allows; the usual limit of a day would stretch that to 48
// seconds.
var steady = []string{"TAP_POLL_INTERVAL=30s", "QUOTA_SIEM=5000", "TAP_SWEEPS=off"}

func plans(group string) []plan {
	var list []plan
	switch group {
	case "rate":
		for _, rate := range []int{1_000, 10_000, 100_000, 300_000} {
			list = append(list, plan{fmt.Sprint(rate), 1, restFor, setting{PerHour: rate, Span: 2 * time.Hour, Env: steady}})
		}
	case "tenants":
		for _, n := range []int{1, 2, 4, 8} {
			list = append(list, plan{fmt.Sprint(n), n, restFor, setting{PerHour: 36_000, Span: time.Hour, Env: steady}})
		}
	case "replicas":
		replicas := func(name string, f, e, s int, base setting) {
			base.Fetchers, base.Enrichers, base.Shippers = f, e, s
			list = append(list, plan{name, 1, 0, base})
		}
		for _, n := range [][3]int{{1, 1, 1}, {2, 1, 1}, {1, 2, 1}, {1, 1, 2}, {2, 2, 2}, {3, 3, 3}} {
			replicas("processor", n[0], n[1], n[2], setting{PerHour: 36_000, Span: 6 * time.Hour})
		}
		for n := 1; n <= 3; n++ {
			replicas("Proofpoint", n, 1, 1, setting{PerHour: 3_600, Span: 12 * time.Hour, Latency: 2 * time.Second})
		}
		for n := 1; n <= 3; n++ {
			replicas("Devo", 1, 1, n, setting{PerHour: 36_000, Span: 2 * time.Hour, Env: []string{"SHIPPER_MAX_INFLIGHT_BYTES=8388608", "DEVO_SETTLE=1s"}})
		}
	case "memory":
		for _, b := range budgets {
			list = append(list, plan{b.name, 1, 0, setting{PerHour: 108_000, Span: 2 * time.Hour, Fetchers: 1, Enrichers: 1, Shippers: 1, Env: []string{
				fmt.Sprintf("FETCHER_SPOOL_MEMORY=%d", b.spool), fmt.Sprintf("ENRICHER_WORKERS=%d", b.workers), fmt.Sprintf("SHIPPER_MAX_INFLIGHT_BYTES=%d", b.inFlight),
			}}})
		}
	}
	return list
}

// budget is what each stage may have in hand at once.
type budget struct {
	name     string
	spool    int // bytes, of a fetcher's lane
	workers  int // of an enricher, each with a batch
	inFlight int // bytes, of a shipper
}

// budgets are a quarter of the defaults, the defaults, and twice and four times them.
var budgets = []budget{{"quarter", 2 << 20, 1, 8 << 20}, {"default", 8 << 20, 4, 32 << 20}, {"double", 16 << 20, 8, 64 << 20}, {"fourfold", 32 << 20, 16, 128 << 20}}

// measure makes a point of a plan.
func (p plan) measure(ctx context.Context, bin, group string) (point, error) {
	result := point{Group: group, Name: p.name, Setting: p.setting, Load: load()}
	dir, err := os.MkdirTemp("", "scaling-")
	if err != nil {
		return result, fmt.Errorf("measure: %w", err)
	}
	defer os.RemoveAll(dir)
	began := time.Now()
	var all []*pipeline
	defer func() {
		var wg sync.WaitGroup
		for _, one := range all {
			wg.Go(one.stop)
		}
		wg.Wait()
	}()
	for i := range p.tenants {
		one, err := newPipeline(ctx, bin, filepath.Join(dir, fmt.Sprint(i)), p.setting)
		if err != nil {
			return result, err
		}
		all = append(all, one)
	}
	if result.Fill, err = fillAll(ctx, all); err != nil {
		return result, err
	}
	for i, s := range result.Fill {
		result.Elapsed = max(result.Elapsed, all[i].began.Sub(all[0].began).Seconds()+s.Seconds)
	}
	if p.rest > 0 {
		if result.Rest, err = watch(ctx, all, p.rest); err != nil {
			return result, err
		}
		if _, err = fillAll(ctx, all); err != nil { // nothing is missing after it, either
			return result, err
		}
	}
	fmt.Fprintf(os.Stderr, "%s %s: %.1f s\n", group, p.name, time.Since(began).Seconds())
	return result, nil
}

func fillAll(ctx context.Context, all []*pipeline) ([]sample, error) {
	samples, problems := make([]sample, len(all)), make([]error, len(all))
	var wg sync.WaitGroup
	for i, one := range all {
		wg.Go(func() { samples[i], problems[i] = one.fill(ctx) })
	}
	wg.Wait()
	for i, err := range problems {
		if err != nil {
			return nil, fmt.Errorf("tenant %d of %d: %w", i+1, len(all), err)
		}
	}
	return samples, nil
}

// load is what the machine says about the last minute.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
