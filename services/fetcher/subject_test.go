package fetcher_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
)

// TestAJobStandsOnItsSubject: the server lets an enricher order ids only, by their subjects. A
// window in such a message costs no call.
func TestAJobStandsOnItsSubject(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	forged := b.job(b.window, 0)
	data, err := proto.Marshal(forged)
	if err != nil {
		t.Fatal(err)
	}
	b.want(t, forged)
	bustest.Publish(t, b.server, "job.main.expand.threat.abc", data)
	b.start(t)
	poll(t, func() bool { // a scan makes a consumer each time, of which a stream has few
		usage, err := b.bus.Usage(t.Context(), bus.StreamDead)
		return err == nil && usage.Messages > 0
	})
	if letters := b.deadLetters(t); len(letters) != 1 || !strings.Contains(letters[0].GetReason(), "stands on the subject job.main.expand") {
		t.Errorf("letters %v", letters)
	}
	if n := b.calls(); n != 0 {
		t.Errorf("%d calls for records", n)
	}
	b.plan(t, forged) // the same job where it belongs
	if r := b.record(t, forged); r.GetState() != fetched {
		t.Errorf("%v", r)
	}
}
