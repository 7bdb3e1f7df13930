package overview_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/heartbeat"
	"github.com/tapline/tapline/pkg/replay"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// TestAHostileKeyHidesNoOther: what a stage that was taken over writes beside the keys of others,
// be it garbage or what unfolds to gigabytes, does not keep others from being read.
func TestAHostileKeyHidesNoOther(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	now := time.Now()
	put := func(bucket, key string, m proto.Message) {
		t.Helper()
		k, err := b.Bucket(t.Context(), bucket)
		if err != nil {
			t.Fatal(err)
		}
		data, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string][]byte{key: data, key + "-garbage": []byte("\xff"), key + "-many": bytes.Repeat([]byte{10, 0}, 400_000)} {
			if err := k.Put(t.Context(), name, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(bus.BucketState, "alarm.main.sink.shipper", &taplinev1.Alarm{Name: "sink", Stage: "shipper", Until: timestamppb.New(now.Add(time.Hour))})
	put(bus.BucketState, "heartbeat.main.shipper.one", &taplinev1.Heartbeat{Stage: "shipper", Instance: "one", At: timestamppb.New(now)})
	put(bus.BucketReplay, "main.20260101-000000-abcde", &taplinev1.Replay{Order: &taplinev1.ReplayOrder{Id: "20260101-000000-abcde"}})
	state, err := b.Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	orders, err := b.Bucket(t.Context(), bus.BucketReplay)
	if err != nil {
		t.Fatal(err)
	}
	alarms, err := alarm.Read(t.Context(), state, "main", now)
	if err != nil || len(alarms) < 2 || alarms[0].GetStage() != "shipper" || !strings.Contains(alarms[1].GetDetail(), "is not readable") {
		t.Errorf("alarms: %v, %v", alarms, err)
	}
	programs, err := heartbeat.Read(t.Context(), state, "main", now)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		if p.Stage == "shipper" && p.Replicas != 1 {
			t.Errorf("%d shippers run", p.Replicas)
		}
	}
	if all, err := replay.NewStore(orders, "main").List(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("replays: %v, %v", all, err)
	}
}
