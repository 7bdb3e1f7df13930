package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tapline/tapline/test/torture"
)

// soak lets a pipeline run for a simulated day and prints what it held.
func (s *settings) soak(ctx context.Context) error {
	r, err := torture.Soak(ctx, s.span, s.factor, s.options("soak"))
	if err != nil {
		return err
	}
	fmt.Printf("%s of the simulated clock, %g times as fast as the real one; %s\n", r.Span, r.Factor, r.Profile)
	fmt.Printf("%d records, %d rows, %d missing, %d sent twice, %d read twice\n\n", r.Records, r.Rows, r.Missing, r.Resent, r.Reread)
	fmt.Printf("freshness: p50 %s, p90 %s, p99 %s, longest %s, of %d records\n\n", r.Percentile(50).Round(time.Second), r.Percentile(90).Round(time.Second),
		r.Percentile(99).Round(time.Second), r.Percentile(100).Round(time.Second), len(r.Freshness))
	fmt.Println("| mean of | RSS, MiB | goroutines | descriptors | disk, MiB |")
	fmt.Println("| --- | --- | --- | --- | --- |")
	quarter := len(r.Samples) / 4
	for i := range 4 {
		part := r.Samples[i*quarter : (i+1)*quarter]
		fmt.Printf("| quarter %d | %s | %s | %s | %.0f |\n", i+1,
			means(part, 1<<20, func(x torture.Sample) map[string]float64 { return x.RSS }),
			means(part, 1, func(x torture.Sample) map[string]float64 { return x.Goroutines }),
			means(part, 1, func(x torture.Sample) map[string]float64 { return x.Descriptors }), part[len(part)-1].Disk/(1<<20))
	}
	file, err := os.Create(s.plot)
	if err != nil {
		return err
	}
	if err := r.Plot(file); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	for _, p := range r.Problems {
		fmt.Println("FAILED:", p)
	}
	if r.Failed() {
		return errFailed
	}
	return nil
}

// means averages each line of a part, in units.
func means(part []torture.Sample, unit float64, of func(torture.Sample) map[string]float64) string {
	sums := make(map[string]float64)
	for _, sample := range part {
		for name, v := range of(sample) {
			sums[name] += v / float64(len(part)) / unit
		}
	}
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		texts = append(texts, fmt.Sprintf("%s %.0f", name, sums[name]))
	}
	return strings.Join(texts, ", ")
}
