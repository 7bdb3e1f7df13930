package embedded_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/bus/embedded"
)

// BenchmarkEncryption stores and consumes 64 batches of 256 KiB, in turns in a store in clear and
// in an encrypted one, with every write synced. It reports the time and the processor time of
// either for a mebibyte.
func BenchmarkEncryption(b *testing.B) {
	data := make([]byte, 256<<10)
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(data) // as batches are compressed
	stores := map[string]*bus.Bus{}
	for name, keys := range map[string]embedded.Keys{"clear": {}, "encrypted": one} {
		s, err := embedded.Start(embedded.Options{Dir: bustest.Dir(b), Keys: keys, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(s.Stop)
		stores[name] = bustest.Connect(b, s)
		if err := stores[name].Setup(b.Context(), bustest.Limits, nil); err != nil {
			b.Fatal(err)
		}
	}
	const count = 64
	wall, cpu, turns := map[string]time.Duration{}, map[string]time.Duration{}, 0
	for b.Loop() {
		turns++
		for name, store := range stores {
			began, used := time.Now(), processor()
			for i := range count {
				meta := bus.EventMeta{Tenant: "main", Table: "mail.proofpoint.clicks", MsgID: fmt.Sprint(turns, " ", i)}
				if _, err := store.PublishEvents(b.Context(), data, meta); err != nil {
					b.Fatal(err)
				}
			}
			consume(b, store, count)
			wall[name], cpu[name] = wall[name]+time.Since(began), cpu[name]+processor()-used
		}
	}
	mebibytes := float64(turns * count * len(data) >> 20)
	for name := range stores {
		b.ReportMetric(float64(wall[name].Microseconds())/mebibytes, name+"-us/MiB")
		b.ReportMetric(float64(cpu[name].Microseconds())/mebibytes, name+"-cpu-us/MiB")
	}
}

func consume(b *testing.B, store *bus.Bus, count int) {
	b.Helper()
	sub, err := store.Subscribe(b.Context(), bus.ConsumerShipper, 8)
	if err != nil {
		b.Fatal(err)
	}
	defer sub.Stop()
	for range count {
		d, err := sub.Next(b.Context())
		if err == nil {
			err = d.Ack()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// processor is the time that this process has had one.
func processor() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
