package bus_test

import (
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
)

// TestRacesInACluster: replicas answer reads, are behind, and name a lost race differently from a
// single server. Every writer gets its turn all the same, and none is overwritten.
func TestRacesInACluster(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; make test runs it")
	}
	t.Parallel()
	const writers, times = 12, 5
	var all sync.WaitGroup
	nodes := bustest.Cluster(t)
	for i := range writers {
		all.Go(func() {
			bucket, err := nodes[i%len(nodes)].Bucket(t.Context(), bus.BucketQuota)
			if err != nil {
				t.Error(err)
				return
			}
			for range times {
				if err := increment(t, bucket, "main.none"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	bucket, err := nodes[0].Bucket(t.Context(), bus.BucketQuota)
	if err != nil {
		t.Fatal(err)
	}
	until(t, func() error { // a replica may be behind
		e, err := bucket.Get(t.Context(), "main.none")
		if err == nil && string(e.Value) != strconv.Itoa(writers*times) {
			err = errors.New("counted " + string(e.Value))
		}
		return err
	})
}

func increment(t *testing.T, bucket *bus.Bucket, key string) error {
	t.Helper()
	return bus.RetryOnConflict(t.Context(), func() error {
		e, err := bucket.Get(t.Context(), key)
		if err != nil && !errors.Is(err, bus.ErrNotFound) {
			return err
		}
		n, _ := strconv.Atoi(string(e.Value))
		_, err = bucket.Update(t.Context(), key, []byte(strconv.Itoa(n+1)), e.Revision)
		return err
	})
}

func TestAllChangesOrNone(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; make test runs it")
	}
	t.Parallel()
	for name, b := range map[string]*bus.Bus{"one server": bustest.Start(t), "three servers": bustest.Cluster(t)[0]} {
		t.Run(name, func(t *testing.T) {
			bucket, err := b.Bucket(t.Context(), bus.BucketSeen)
			if err != nil {
				t.Fatal(err)
			}
			changes := make([]bus.Change, 100)
			for i := range changes {
				changes[i] = bus.Change{Key: "main." + strconv.Itoa(i), Value: []byte("first")}
			}
			if err := bucket.UpdateAll(t.Context(), changes); err != nil {
				t.Fatal(err)
			}
			if err := bucket.UpdateAll(t.Context(), changes); !errors.Is(err, bus.ErrConflict) {
				t.Errorf("keys that exist: %v", err)
			}
			var entries []bus.Entry
			until(t, func() error { // a replica may be behind
				entries = entries[:0]
				for _, c := range changes {
					e, err := bucket.Get(t.Context(), c.Key)
					if err != nil {
						return err
					}
					entries = append(entries, e)
				}
				return nil
			})
			for i := range changes {
				changes[i].Value, changes[i].Revision = []byte("second"), entries[i].Revision
			}
			changes[50].Revision++
			if err := bucket.UpdateAll(t.Context(), changes); !errors.Is(err, bus.ErrConflict) {
				t.Errorf("a key that was changed by somebody else: %v", err)
			}
			for _, c := range changes {
				if e, err := bucket.Get(t.Context(), c.Key); err != nil || string(e.Value) != "first" {
					t.Errorf("%s: %q, %v", c.Key, e.Value, err)
				}
			}
			changes[50].Revision--
			if err := bucket.UpdateAll(t.Context(), changes); err != nil {
				t.Errorf("all as they were read: %v", err)
			}
		})
	}
}

// TestAReaderInAClusterIsNotBehind: replicas answer reads and may be behind; a scan, a list of keys
// and an extent have what was stored before they began, wherever they ask.
func TestAReaderInAClusterIsNotBehind(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; make test runs it")
	}
	t.Parallel()
	nodes := bustest.Cluster(t)
	bucket, err := nodes[0].Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := nodes[1].Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		name := strconv.Itoa(i)
		last, err := nodes[0].PublishEvents(t.Context(), []byte("x"), bus.EventMeta{Tenant: "main", Table: "a.b", MsgID: name})
		if err != nil {
			t.Fatal(err)
		}
		got, err := scanned(t.Context(), nodes[i%3], bus.Events("main").Between(last, 0))
		if err != nil || len(got) != 1 || got[0] != last {
			t.Errorf("scanned %v, want %d: %v", got, last, err)
		}
		if e, err := nodes[(i+1)%3].Extent(t.Context(), bus.Events("main").Between(last, 0), time.Time{}, time.Time{}); err != nil || e.Messages != 1 {
			t.Errorf("measured %+v: %v", e, err)
		}
		if err := bucket.Put(t.Context(), "heartbeat.main."+name, nil); err != nil {
			t.Fatal(err)
		}
		if keys, err := elsewhere.Keys(t.Context(), "heartbeat.>"); err != nil || len(keys) != i+1 {
			t.Errorf("%d keys of %d: %v", len(keys), i+1, err)
		}
	}
}
