package wire_test

import (
	"bytes"
	"errors"
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
		&taplinev1.Job{}, &taplinev1.WindowResult{}, &taplinev1.DeadLetter{}, &taplinev1.LedgerPage{}, &taplinev1.PlanState{}, &taplinev1.ListState{},
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
			data := bytes.Repeat(protowire.AppendBytes(protowire.AppendTag(nil, f.Number(), protowire.BytesType), nil), 1<<18)
			alloctest.Linear(t, len(data), factor, fixed, func() {
				if err := wire.Unmarshal(data, proto.Clone(m)); !errors.Is(err, wire.ErrTooMany) && f.Message() != nil {
					t.Errorf("%s.%s: %v", m.ProtoReflect().Descriptor().Name(), f.Name(), err)
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
		page.Windows = append(page.Windows, &taplinev1.WindowRecord{JobId: "main/all/a/b/live/0", FetchedAt: at, ReadAt: at, NotedAt: at, Feeds: []*taplinev1.FeedResult{{}, {}, {}, {}}, Attempts: uint32(i)})
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
		alloctest.Linear(t, len(data), factor, fixed, func() {
			theirs := m.ProtoReflect().New().Interface()
			switch err := wire.Unmarshal(data, theirs); {
			case errors.Is(err, wire.ErrTooMany):
			case (err == nil) != (proto.Unmarshal(data, m.ProtoReflect().New().Interface()) == nil):
				t.Errorf("%v: proto says something else", err)
			}
		})
	})
}
