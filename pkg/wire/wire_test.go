package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/alloctest"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// kinds are all messages that are decoded from the bus.
func kinds() []proto.Message {
	return []proto.Message{
		&taplinev1.Job{}, &taplinev1.JobResult{}, &taplinev1.DeadLetter{}, &taplinev1.LedgerPage{}, &taplinev1.PlanState{}, &taplinev1.ListState{},
		&taplinev1.QuotaState{}, &taplinev1.Known{}, &taplinev1.Replay{}, &taplinev1.Alarm{}, &taplinev1.Heartbeat{}, &taplinev1.Memory{}, &taplinev1.Target{},
		&taplinev1.Retry{}, &taplinev1.RawBatch{}, &taplinev1.EventBatch{},
	}
}

const (
	fixed  = 64 << 20
	factor = 3
)

// TestFewBytesTakeLittleMemory: whatever field two bytes are repeated of, up to what the bus takes.
func TestFewBytesTakeLittleMemory(t *testing.T) { //nolint:paralleltest // it measures the process
	for _, m := range kinds() {
		fields := m.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			if !f.IsList() && !f.IsMap() && f.Message() == nil {
				continue
			}
			times := 1 << 18
			if f.Message() != nil {
				times = 1 << 20
			}
			data := bytes.Repeat(protowire.AppendBytes(protowire.AppendTag(nil, f.Number(), protowire.BytesType), nil), times)
			alloctest.Linear(t, len(data), factor, fixed, func() {
				if err := wire.Unmarshal(data, proto.Clone(m)); !errors.Is(err, wire.ErrTooMany) && f.Message() != nil {
					t.Errorf("%s.%s: %v", m.ProtoReflect().Descriptor().Name(), f.Name(), err)
				}
			})
		}
	}
}

// TestWhatIsReadTakesLittleMemory: as many parts as are decoded, of the smallest kinds.
func TestWhatIsReadTakesLittleMemory(t *testing.T) { //nolint:paralleltest // it measures the process
	for _, m := range kinds() {
		fields := m.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			if f.Message() == nil || !f.IsList() {
				continue
			}
			part := protowire.AppendBytes(protowire.AppendTag(nil, f.Number(), protowire.BytesType), nil)
			low, high := 1, 1<<20
			for high-low > 1<<14 { // what is refused costs nothing
				times := (low + high) / 2
				if errors.Is(wire.Unmarshal(bytes.Repeat(part, times), proto.Clone(m)), wire.ErrTooMany) {
					high = times
				} else {
					low = times
				}
			}
			data := bytes.Repeat(part, low)
			alloctest.Linear(t, len(data), factor, fixed, func() {
				if err := wire.Unmarshal(data, m.ProtoReflect().New().Interface()); err != nil {
					t.Errorf("%s.%s, %d times: %v", m.ProtoReflect().Descriptor().Name(), f.Name(), low, err)
				}
			})
		}
	}
}

// TestLargePagesAreRead: the largest message that this program writes is far from the bound.
func TestLargePagesAreRead(t *testing.T) {
	t.Parallel()
	at := timestamppb.New(time.Unix(1773216000, 5))
	page := &taplinev1.LedgerPage{}
	for i := range 20_000 {
		page.Made = append(page.Made, &taplinev1.BatchRecord{RawSequence: uint64(i), Table: "mail.proofpoint.tapsiem_v2.clicksblocked", Events: 500, AtMs: 1})
	}
	for i := range 5_000 {
		page.Windows = append(page.Windows, &taplinev1.JobRecord{JobId: "main/all/a/b/live/0", FetchedAt: at, ReadAt: at, NotedAt: at, Feeds: []*taplinev1.FeedResult{{}, {}, {}, {}}, Attempts: uint32(i)})
	}
	data, err := proto.Marshal(page)
	if err != nil {
		t.Fatal(err)
	}
	got := &taplinev1.LedgerPage{}
	if err := wire.Unmarshal(data, got); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(page, got) {
		t.Error("it is another page")
	}
}

// TestFullPagesAreRead: versions before could write pages of all that the bus takes, whose windows
// are the smallest that there are.
func TestFullPagesAreRead(t *testing.T) {
	t.Parallel()
	at := timestamppb.New(time.Unix(1773216000, 5))
	for name, c := range map[string]struct {
		id     string
		feeds  int
		states taplinev1.WindowState
	}{
		"one feed":          {"main/threat/20261129T1000Z/20261129T1100Z/retry/%d/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 1, taplinev1.WindowState_WINDOW_STATE_FETCHED},
		"four feeds":        {"main/threat/20261129T1000Z/20261129T1100Z/retry/%d/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 4, taplinev1.WindowState_WINDOW_STATE_FETCHED},
		"one, short ids":    {"main/all/20261129T1000Z/20261129T1100Z/live/%d", 1, taplinev1.WindowState_WINDOW_STATE_FETCHED},
		"four, short ids":   {"main/all/20261129T1000Z/20261129T1100Z/live/%d", 4, taplinev1.WindowState_WINDOW_STATE_FETCHED},
		"windows that were": {"main/all/20261129T1000Z/20261129T1100Z/live/%d", 0, taplinev1.WindowState_WINDOW_STATE_SPLIT},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page := &taplinev1.LedgerPage{}
			for size := 0; size < 8<<20; {
				r := &taplinev1.JobRecord{JobId: fmt.Sprintf(c.id, len(page.GetWindows())), State: c.states, NotedAt: at, Attempts: 1, Calls: 1}
				if c.feeds > 0 {
					r.Status, r.MarkerSequence, r.FetchedAt, r.ReadAt, r.ReadEnd = 200, uint64(len(page.GetWindows())), at, at, at
				}
				for range c.feeds {
					r.Feeds = append(r.Feeds, &taplinev1.FeedResult{Feed: "threats", Received: 1, Published: 1, FirstHash: 1 << 60, LastHash: 1 << 61})
				}
				page.Windows = append(page.Windows, r)
				size += proto.Size(r) + 3
			}
			data, err := proto.Marshal(page)
			if err != nil {
				t.Fatal(err)
			}
			got := &taplinev1.LedgerPage{}
			if err := wire.Unmarshal(data, got); err != nil || len(got.GetWindows()) != len(page.GetWindows()) {
				t.Errorf("%d windows in %d KiB: %v", len(page.GetWindows()), len(data)>>10, err)
			}
			t.Log(len(page.GetWindows()), "windows,", len(data)>>10, "KiB")
		})
	}
}

func FuzzUnmarshal(f *testing.F) {
	page, err := proto.Marshal(&taplinev1.LedgerPage{Made: []*taplinev1.BatchRecord{{RawSequence: 1, Table: "t"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(0, page, 1)
	f.Add(3, []byte{10, 0}, 200_000)
	f.Add(4, []byte{34, 0}, 200_000)
	f.Fuzz(func(t *testing.T, kind int, data []byte, times int) {
		list := kinds()
		m := list[uint(kind)%uint(len(list))]
		if len(data) == 0 {
			return
		}
		data = bytes.Repeat(data, int(uint(times)%uint(1+(2<<20)/len(data)))+1)
		var got error
		alloctest.Linear(t, len(data), factor, fixed, func() { got = wire.Unmarshal(data, m.ProtoReflect().New().Interface()) })
		if !errors.Is(got, wire.ErrTooMany) && (got == nil) != (proto.Unmarshal(data, m.ProtoReflect().New().Interface()) == nil) {
			t.Errorf("%v: proto says something else", got)
		}
	})
}
