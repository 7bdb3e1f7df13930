package known

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/step"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

const (
	// Lease is how long a claim holds: longer than any single call.
	Lease = 3 * time.Minute
	// maxVersions bounds an entry; a threat that changes more often is asked about again.
	maxVersions = 8
)

// store is the bucket KNOWN.
type store interface {
	Get(ctx context.Context, key string) (bus.Entry, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
}

// Memory is what is known of one tenant's threats and campaigns. It is safe for concurrent use.
type Memory struct {
	store   store
	tenant  string
	refresh time.Duration
	now     func() time.Time
}

// Config of the memory.
type Config struct {
	Refresh time.Duration `env:"EXPAND_REFRESH" envDefault:"24h" usage:"age at which a threat or campaign that is seen again is asked for again"`
}

// Validate checks the range.
func (c Config) Validate() error {
	if c.Refresh < time.Minute || c.Refresh > 20*24*time.Hour {
		return config.Invalid("EXPAND_REFRESH", c.Refresh.String(), "want 1m to 480h")
	}
	return nil
}

// Open opens the memory. What was asked longer than the refresh period ago, by the clock now, is
// asked again.
func Open(s store, tenant string, c Config, now func() time.Time) *Memory {
	return &Memory{s, tenant, c.Refresh, now}
}

// Key is where an id is kept; for one that cannot stand in a key, its hash.
func Key(tenant string, call feed.Call, id string) string {
	if !feed.Askable(id) {
		id = fmt.Sprintf("=%016x", identity.Named(id))
	}
	return tenant + "." + string(call) + "." + id
}

func (m *Memory) read(ctx context.Context, call feed.Call, id string) (*taplinev1.Known, uint64, error) {
	entry, err := m.store.Get(ctx, Key(m.tenant, call, id))
	if errors.Is(err, bus.ErrNotFound) {
		return &taplinev1.Known{}, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("known: %w", err)
	}
	k := &taplinev1.Known{}
	if err := wire.Unmarshal(entry.Value, k); err != nil { // not readable is as bad as lost, and as harmless
		return &taplinev1.Known{}, entry.Revision, nil //nolint:nilerr // see above
	}
	return k, entry.Revision, nil
}

// Verdict says what is known about a target.
type Verdict int

// The verdicts.
const (
	New     Verdict = iota
	Covered         // it was asked, about just this, within the refresh period
	Changed         // it was asked when it had another status or update, or long ago
	Linked          // it was asked when it belonged to no campaign, or to another
)

// Covers looks a target up.
func (m *Memory) Covers(ctx context.Context, call feed.Call, t *taplinev1.Target) (Verdict, error) {
	k, _, err := m.read(ctx, call, t.GetId())
	if err != nil {
		return New, err
	}
	return m.compare(k, t), nil
}

func (m *Memory) compare(k *taplinev1.Known, t *taplinev1.Target) Verdict {
	if len(k.GetVersions()) == 0 {
		return New
	}
	linked := t.GetCampaign() != ""
	for _, v := range k.GetVersions() {
		if v.GetCampaign() == t.GetCampaign() {
			linked = false
		}
		if answers(v, t) && m.now().Sub(v.GetAt().AsTime()) < m.refresh {
			return Covered
		}
	}
	if linked {
		return Linked
	}
	return Changed
}

// answers reports whether an answer is about what a target asks. What a target does not
// say is no question: a record often has no campaign where others of its threat have.
func answers(v *taplinev1.Version, t *taplinev1.Target) bool {
	return (t.GetStatus() == "" || v.GetStatus() == t.GetStatus()) &&
		(t.GetCampaign() == "" || v.GetCampaign() == t.GetCampaign()) &&
		!t.GetUpdated().AsTime().After(v.GetUpdated().AsTime())
}

// Claimed is what [Memory.Claim] found.
type Claimed struct {
	Covered bool   // nothing is to be asked
	Busy    bool   // another job asks at the moment
	Hash    uint64 // of the content that was published last; 0 if none
	// Campaign that the target was last known to belong to.
	Campaign string
}

// Claim reserves a target for a job, unless it is covered or another job has it.
func (m *Memory) Claim(ctx context.Context, call feed.Call, t *taplinev1.Target, jobID string) (Claimed, error) {
	var result Claimed
	err := m.change(ctx, call, t.GetId(), func(k *taplinev1.Known) bool {
		now := m.now()
		result = Claimed{Hash: k.GetHash()}
		for _, v := range k.GetVersions() {
			if v.GetCampaign() != "" {
				result.Campaign = v.GetCampaign()
			}
		}
		switch {
		case m.compare(k, t) == Covered:
			result.Covered = true
			return false
		case k.GetOwner() != "" && k.GetOwner() != jobID && k.GetOwnerUntil().AsTime().After(now):
			result.Busy = true
			return false
		}
		k.Owner, k.OwnerUntil = jobID, timestamppb.New(now.Add(Lease))
		return true
	})
	return result, err
}

// Complete records an answer about an id and ends the claim, in one write for all the targets that
// it answers. hash is that of the content that was published, or 0 when none was.
func (m *Memory) Complete(ctx context.Context, call feed.Call, id string, hash uint64, targets ...*taplinev1.Target) error {
	return m.change(ctx, call, id, func(k *taplinev1.Known) bool {
		k.Owner, k.OwnerUntil, k.Failures = "", nil, 0
		if hash != 0 {
			k.Hash = hash
		}
		for _, t := range targets {
			k.Versions = slices.DeleteFunc(k.GetVersions(), func(v *taplinev1.Version) bool {
				return v.GetStatus() == t.GetStatus() && v.GetCampaign() == t.GetCampaign()
			})
			k.Versions = append(k.Versions, &taplinev1.Version{
				Status: t.GetStatus(), Campaign: t.GetCampaign(), Updated: t.GetUpdated(), At: timestamppb.New(m.now()),
			})
		}
		k.Versions = k.Versions[max(0, len(k.GetVersions())-maxVersions):]
		return true
	})
}

// Release ends a job's claim without an answer. failed says that the target itself is
// the reason. It returns how often in a row that was so.
func (m *Memory) Release(ctx context.Context, call feed.Call, id string, failed bool) (failures int, err error) {
	err = m.change(ctx, call, id, func(k *taplinev1.Known) bool {
		k.Owner, k.OwnerUntil = "", nil
		if failed {
			k.Failures++
		}
		failures = int(k.GetFailures())
		return true
	})
	return failures, err
}

// Forget makes an id as if it had never been asked for, but for the content that was published.
func (m *Memory) Forget(ctx context.Context, call feed.Call, id string) error {
	return m.change(ctx, call, id, func(k *taplinev1.Known) bool {
		k.Versions, k.Owner, k.OwnerUntil, k.Failures = nil, "", nil, 0
		return true
	})
}

func (m *Memory) change(ctx context.Context, call feed.Call, id string, alter func(*taplinev1.Known) bool) error {
	return bus.RetryOnConflict(ctx, func() error {
		k, revision, err := m.read(ctx, call, id)
		if err != nil || !alter(k) {
			return err
		}
		data, err := proto.Marshal(k)
		if err == nil {
			_, err = m.store.Update(ctx, Key(m.tenant, call, id), data, revision)
		}
		if err != nil {
			return fmt.Errorf("known: %w", err)
		}
		step.At("known.written")
		return nil
	})
}
