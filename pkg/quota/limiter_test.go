package quota_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
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

func limiter(t *testing.T, b *bus.Bus, limit int) *quota.Limiter {
	t.Helper()
	bucket, err := b.Bucket(t.Context(), bus.BucketQuota)
	if err != nil {
		t.Fatal(err)
	}
	return quota.NewLimiter(bucket, "main", quota.Config{SIEM: limit, SIEMPermitted: limit, Margin: 2 * time.Minute}, func() time.Time { return epoch })
}

func TestReplicasShareOneBudget(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t, quota.Seeds("main")...)
	const limit = 150
	var granted atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		replica := limiter(t, b, limit)
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
	if st, err := limiter(t, b, limit).Look(t.Context(), feed.PoolSIEM); err != nil || st.Used != limit || st.Left() != 0 {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestMissingKeyIsClosedUntilOpened(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t) // no seeds: as if the bucket had been lost
	q := limiter(t, b, 10)
	for range 2 {
		var exhausted *quota.ExhaustedError
		if err := q.Reserve(t.Context(), feed.PoolSIEM); !errors.As(err, &exhausted) || exhausted.Wait < 24*time.Hour {
			t.Fatalf("reserve: %v", err)
		}
	}
	if err := q.Unblock(t.Context(), feed.PoolSIEM); err != nil {
		t.Fatal(err)
	}
	if err := q.Reserve(t.Context(), feed.PoolSIEM); err != nil {
		t.Errorf("after opening: %v", err)
	}
}

// calls is a ledger that knows some calls.
type calls []quota.Call

func (c calls) Calls(_ context.Context, _ string, _ feed.Pool, since time.Time) ([]quota.Call, error) {
	if c == nil {
		return nil, errors.New("the ledger cannot be read")
	}
	if want := epoch.Add(-24*time.Hour - 2*time.Minute); !since.Equal(want) { // with the margin: these calls count, too
		return nil, fmt.Errorf("asked since %s, want %s", since, want)
	}
	return c, nil
}

// TestLostMemoryIsRebuilt: from what the ledger knows, with something for what it does not know,
// once for all replicas.
func TestLostMemoryIsRebuilt(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t) // no seeds: as if the bucket had been lost
	known := calls{{epoch.Add(-25 * time.Hour), 500}, {epoch.Add(-3 * time.Hour), 30}, {epoch.Add(time.Hour), 40}}
	const limit = 100
	if st, err := limiter(t, b, limit).RebuildFrom(known).Look(t.Context(), feed.PoolSIEM); err != nil || st.Used != 75 || st.Rebuilt.IsZero() {
		t.Errorf("a look before anybody calls: %+v, %v", st, err)
	}
	if err := limiter(t, b, limit).RebuildFrom(calls(nil)).Reserve(t.Context(), feed.PoolSIEM); err == nil || errors.Is(err, quota.ErrExhausted) {
		t.Errorf("a ledger that cannot be read: %v", err)
	}
	granted := 0
	for range 2 {
		for q := limiter(t, b, limit).RebuildFrom(known); q.Reserve(t.Context(), feed.PoolSIEM) == nil; {
			granted++
		}
	}
	if granted != 25 {
		t.Errorf("%d calls granted, want 25: 70 are known, 5 may be", granted)
	}
	st, err := limiter(t, b, limit).Look(t.Context(), feed.PoolSIEM)
	if err != nil || st.Used != limit || !st.Rebuilt.Equal(epoch) {
		t.Errorf("%+v, %v", st, err)
	}
}

// TestALossStandsStill: the process that reports losses writes them down, missing or unreadable,
// and asks the ledger once.
func TestALossStandsStill(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t, bus.Seed{Bucket: bus.BucketQuota, Key: quota.Key("main", feed.PoolSIEMPermitted), Value: []byte("\xff\xff")})
	for _, pool := range []feed.Pool{feed.PoolSIEM, feed.PoolSIEMPermitted} {
		for _, ledger := range []calls{{{epoch, 30}}, nil} { // the second cannot be read
			st, err := limiter(t, b, 100).RebuildFrom(ledger).Watch(t.Context(), pool)
			if err != nil || st.Used != 35 || !st.Rebuilt.Equal(epoch) || st.Pool != string(pool) {
				t.Errorf("%s: %+v, %v", pool, st, err)
			}
		}
	}
}

// TestATenantBegins with all its calls where no process knows of any, and keeps what there is.
func TestATenantBegins(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ledger calls
		seeds  []bus.Seed
		want   int
		lost   bool
	}{
		"new":                  {calls{}, nil, 0, false},
		"lost with its plan":   {calls{{epoch, 30}}, nil, 35, true},
		"begins a second time": {nil, quota.Seeds("main"), 0, false}, // a ledger that is not asked
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := bustest.Start(t, c.seeds...)
			if err := limiter(t, b, 100).RebuildFrom(c.ledger).Begin(t.Context()); err != nil {
				t.Fatal(err)
			}
			st, err := limiter(t, b, 100).Look(t.Context(), feed.PoolSIEM)
			if err != nil || st.Used != c.want || st.Rebuilt.IsZero() == c.lost || st.Reason != "" {
				t.Errorf("%+v, %v", st, err)
			}
		})
	}
	if err := limiter(t, bustest.Start(t), 100).RebuildFrom(calls(nil)).Begin(t.Context()); err == nil {
		t.Error("a ledger that cannot be read has no calls")
	}
}

// TestALookWritesNothing: a question about a tenant that does not exist leaves no trace of it.
func TestALookWritesNothing(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	q := limiter(t, b, 10)
	if _, err := q.Look(t.Context(), feed.PoolSIEM); err != nil {
		t.Error(err)
	}
	if _, err := q.Forecast(t.Context(), feed.PoolSIEM); err != nil {
		t.Error(err)
	}
	bucket, err := b.Bucket(t.Context(), bus.BucketQuota)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.Get(t.Context(), quota.Key("main", feed.PoolSIEM)); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("the key after a look: %v", err)
	}
}

// away is a bucket whose writes fail, before they have an effect or after.
type away struct {
	*bus.Bucket
	after bool
}

var errAway = errors.New("no answer")

func (a away) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if a.after {
		if _, err := a.Bucket.Update(ctx, key, value, revision); err != nil {
			return 0, err
		}
	}
	return 0, errAway
}

// TestAWritingThatFailsIsNoUnit: a unit whose writing failed is not had, whether it was applied or
// not, and one that was applied counts.
func TestAWritingThatFailsIsNoUnit(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		b := bustest.Start(t, quota.Seeds("main")...)
		bucket, err := b.Bucket(t.Context(), bus.BucketQuota)
		if err != nil {
			t.Fatal(err)
		}
		q := quota.NewLimiter(away{bucket, after}, "main", quota.Config{SIEM: 10, Margin: time.Minute}, func() time.Time { return epoch })
		if err := q.Reserve(t.Context(), feed.PoolSIEM); !errors.Is(err, errAway) {
			t.Errorf("reserve: %v", err)
		}
		if err := q.Count(t.Context(), 1); !errors.Is(err, errAway) {
			t.Errorf("count: %v", err)
		}
		want := map[bool]int{false: 0, true: 1}[after]
		if st, err := limiter(t, b, 10).Look(t.Context(), feed.PoolSIEM); err != nil || st.Used != want {
			t.Errorf("applied %t: %+v, %v", after, st, err)
		}
	}
}

func TestUnreadableStateIsClosed(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t, bus.Seed{Bucket: bus.BucketQuota, Key: quota.Key("main", feed.PoolSIEM), Value: []byte("\xff\xff")})
	if err := limiter(t, b, 10).Reserve(t.Context(), feed.PoolSIEM); !errors.Is(err, quota.ErrExhausted) {
		t.Errorf("reserve: %v", err)
	}
}

// TestTimeAdvancesWithoutAUnit: refused replicas keep the present in the bucket, so that a unit
// comes back at its time and not when a clock has been seen twice.
func TestTimeAdvancesWithoutAUnit(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t, quota.Seeds("main")...)
	bucket, err := b.Bucket(t.Context(), bus.BucketQuota)
	if err != nil {
		t.Fatal(err)
	}
	now := epoch
	q := quota.NewLimiter(bucket, "main", quota.Config{SIEM: 1, Margin: 2 * time.Minute}, func() time.Time { return now })
	if err := q.Reserve(t.Context(), feed.PoolSIEM); err != nil {
		t.Fatal(err)
	}
	free := epoch.Truncate(time.Minute).Add(time.Minute + 24*time.Hour + 2*time.Minute)
	for now = epoch; now.Before(free); now = now.Add(9 * time.Minute) {
		if err := q.Reserve(t.Context(), feed.PoolSIEM); !errors.Is(err, quota.ErrExhausted) {
			t.Fatalf("at %s: %v", now, err)
		}
	}
	now = free
	if err := q.Reserve(t.Context(), feed.PoolSIEM); err != nil {
		t.Errorf("at its time: %v", err)
	}
}

// TestEveryLimitIsChecked: each by its own name.
func TestEveryLimitIsChecked(t *testing.T) {
	t.Parallel()
	good := quota.Config{1, 1, 1, 1, 1, 1, 1, time.Minute}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]quota.Config{
		"QUOTA_SIEM=":               {0, 1, 1, 1, 1, 1, 1, 0},
		"QUOTA_SIEM_PERMITTED=":     {1, 0, 1, 1, 1, 1, 1, 0},
		"QUOTA_CAMPAIGN_IDS=":       {1, 1, 0, 1, 1, 1, 1, 0},
		"QUOTA_PEOPLE_VAP=":         {1, 1, 1, 0, 1, 1, 1, 0},
		"QUOTA_PEOPLE_TOP_CLICKERS": {1, 1, 1, 1, 0, 1, 1, 0},
		"QUOTA_FORENSICS_THREAT":    {1, 1, 1, 1, 1, 0, 1, 0},
		"QUOTA_FORENSICS_CAMPAIGN":  {1, 1, 1, 1, 1, 1, 0, time.Hour},
		"QUOTA_MARGIN=\"1h0m1s\"":   {1, 1, 1, 1, 1, 1, 1, time.Hour + time.Second},
		"QUOTA_MARGIN=\"-1s\"":      {1, 1, 1, 1, 1, 1, 1, -time.Second},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestForgottenCallsCloseThePool: through the bucket, as a restore does it.
func TestForgottenCallsCloseThePool(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t, quota.Seeds("main")...)
	until, err := limiter(t, b, 10).BlockAfterLoss(t.Context(), feed.PoolSIEM, epoch)
	if want := epoch.Add(24*time.Hour + 2*time.Minute); err != nil || !until.Equal(want) {
		t.Errorf("closed until %s, %v, want %s", until, err, want)
	}
	if err := limiter(t, b, 10).Reserve(t.Context(), feed.PoolSIEM); !errors.Is(err, quota.ErrExhausted) {
		t.Errorf("reserve: %v", err)
	}
}

// TestTheLoserOfARaceDecidesAgain: from what is stored then, which may allow what was refused
// before.
func TestTheLoserOfARaceDecidesAgain(t *testing.T) {
	t.Parallel()
	b, faults := bustest.StartFaulty(t, quota.Seeds("main")...)
	other, err := bustest.Connect(t, faults.Server).Bucket(t.Context(), bus.BucketQuota)
	if err != nil {
		t.Fatal(err)
	}
	if err := limiter(t, b, 1).Reserve(t.Context(), feed.PoolSIEM); err != nil {
		t.Fatal(err)
	}
	bucket, err := b.Bucket(t.Context(), bus.BucketQuota)
	if err != nil {
		t.Fatal(err)
	}
	later := quota.NewLimiter(bucket, "main", quota.Config{SIEM: 1, Margin: time.Minute}, func() time.Time { return epoch.Add(9 * time.Minute) })
	meanwhile := faults.At(bustest.Write(bus.BucketQuota), func() {
		if err := other.Put(t.Context(), quota.Key("main", feed.PoolSIEM), nil); err != nil { // as if it had never been used
			t.Error(err)
		}
	})
	var once sync.Once
	again := faults.At(bustest.Write(bus.BucketQuota), func() { once.Do(meanwhile.End) })
	defer again.End()
	if err := later.Reserve(t.Context(), feed.PoolSIEM); err != nil {
		t.Errorf("refused by a state that is no more: %v", err)
	}
}

// TestTwoFindTheMemoryLost: one rebuilds it, and the other continues with what the first has
// written.
func TestTwoFindTheMemoryLost(t *testing.T) {
	t.Parallel()
	b, faults := bustest.StartFaulty(t)
	first := limiter(t, bustest.Connect(t, faults.Server), 10).RebuildFrom(calls{{epoch, 4}})
	var once sync.Once
	faults.At(bustest.Write(bus.BucketQuota), func() {
		once.Do(func() {
			if err := first.Reserve(t.Context(), feed.PoolSIEM); err != nil {
				t.Error(err)
			}
		})
	})
	if err := limiter(t, b, 10).RebuildFrom(calls{{epoch, 9}}).Reserve(t.Context(), feed.PoolSIEM); err != nil {
		t.Errorf("the second: %v", err)
	}
	if st, err := limiter(t, b, 10).Look(t.Context(), feed.PoolSIEM); err != nil || st.Used != 4+1+2 {
		t.Errorf("%+v, %v; want the four of the first, one for what nobody noted, and one of each", st, err)
	}
}

// TestWhatCannotBeRead: no unit, no look and no forecast, which would say that nothing was used.
func TestWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	b, faults := bustest.StartFaulty(t, quota.Seeds("main")...)
	faults.Fail(bustest.Read(bus.BucketQuota), bustest.Fault{Times: 3})
	q := limiter(t, b, 10)
	_, look := q.Look(t.Context(), feed.PoolSIEM)
	_, forecast := q.Forecast(t.Context(), feed.PoolSIEM)
	if reserve := q.Reserve(t.Context(), feed.PoolSIEM); look == nil || forecast == nil || reserve == nil || errors.Is(reserve, quota.ErrExhausted) {
		t.Errorf("look %v, forecast %v, reserve %v", look, forecast, reserve)
	}
}

// TestAForecastSaysWhatBlocks: until when, and why.
func TestAForecastSaysWhatBlocks(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t, quota.Seeds("main")...)
	q := limiter(t, b, 10)
	if _, err := q.Refused(t.Context(), feed.PoolSIEM, time.Hour); err != nil {
		t.Fatal(err)
	}
	f, err := q.Forecast(t.Context(), feed.PoolSIEM)
	if err != nil || !f.Blocked.Equal(epoch.Add(time.Hour)) || f.Reason == "" || f.External != 10 || f.Limit != 10 {
		t.Errorf("%+v, %v", f, err)
	}
}
