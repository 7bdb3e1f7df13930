package seen

import (
	"testing"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
)

// BenchmarkEightDays looks records up in sets as they are after eight days of 100 000 records
// an hour: each record of one hour is read again, as a sweep does.
func BenchmarkEightDays(b *testing.B) {
	const hours, rate = 8 * 24, 100_000
	store := &memory{values: map[string]bus.Entry{}}
	id := func(h, i int) uint64 { return uint64(h*rate+i) * 0x9e3779b97f4a7c15 }
	for h := range hours {
		sets := Open(store, "main", &Prefetch{}, "live")
		for i := range rate {
			if _, err := sets.Add(b.Context(), feed.MessagesBlocked, int64(h)*3_600_000+1, id(h, i), id(h, i)); err != nil {
				b.Fatal(err)
			}
		}
		if err := sets.Commit(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	bytes := 0
	for _, e := range store.values {
		bytes += len(e.Value)
	}
	h := 0
	for b.Loop() {
		sets := Open(store, "main", &Prefetch{}, "live")
		for i := range rate {
			v, err := sets.Add(b.Context(), feed.MessagesBlocked, int64(h%hours)*3_600_000+1, id(h%hours, i), id(h%hours, i))
			if err != nil || v != Duplicate {
				b.Fatal(v, err)
			}
		}
		h++
	}
	b.ReportMetric(float64(bytes)/hours/rate, "bytes/record")
	b.ReportMetric(float64(bytes), "bytes/8days")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rate, "ns/lookup")
}
