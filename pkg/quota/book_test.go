package quota_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/quota"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func book(t *testing.T, b *bus.Bus, limit int) *quota.Book {
	t.Helper()
	bucket, err := b.Bucket(t.Context(), bus.BucketQuota)
	if err != nil {
		t.Fatal(err)
	}
	return quota.NewBook(bucket, "main", quota.Config{SIEM: limit, SIEMPermitted: limit, Margin: 2 * time.Minute}, func() time.Time { return epoch })
}

func TestReplicasShareOneBudget(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t, quota.Seeds("main")...)
	const limit = 150
	var granted atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		replica := book(t, b, limit)
		wg.Go(func() {
			for {
				err := replica.Reserve(t.Context(), feed.PoolSIEM)
				if errors.Is(err, quota.ErrExhausted) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				granted.Add(1)
			}
		})
	}
	wg.Wait()
	if granted.Load() != limit {
		t.Errorf("%d calls granted, limit %d", granted.Load(), limit)
	}
	if st, err := book(t, b, limit).Look(t.Context(), feed.PoolSIEM); err != nil || st.Used != limit || st.Left() != 0 {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestMissingKeyIsClosedUntilOpened(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t) // no seeds: as if the bucket had been lost
	q := book(t, b, 10)
	for range 2 {
		var exhausted *quota.ExhaustedError
		if err := q.Reserve(t.Context(), feed.PoolSIEM); !errors.As(err, &exhausted) || exhausted.Wait < 24*time.Hour {
			t.Fatalf("reserve: %v", err)
		}
	}
	if err := q.Open(t.Context(), feed.PoolSIEM); err != nil {
		t.Fatal(err)
	}
	if err := q.Reserve(t.Context(), feed.PoolSIEM); err != nil {
		t.Errorf("after opening: %v", err)
	}
}

func TestUnreadableStateIsClosed(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t, bus.Seed{Bucket: bus.BucketQuota, Key: quota.Key("main", feed.PoolSIEM), Value: []byte("\xff\xff")})
	if err := book(t, b, 10).Reserve(t.Context(), feed.PoolSIEM); !errors.Is(err, quota.ErrExhausted) {
		t.Errorf("reserve: %v", err)
	}
}
