package bus

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestWaitsGrow: also after a subscription took messages one by one, for which it sets the wait
// back to none. A wait that stays at none takes a whole processor.
func TestWaitsGrow(t *testing.T) {
	t.Parallel()
	for wait, want := range map[time.Duration]time.Duration{0: remindAfter, remindAfter: 2 * remindAfter, remindMost - 1: remindMost, remindMost: remindMost} {
		if got := longer(wait); got != want {
			t.Errorf("%s follows %s, not %s", got, wait, want)
		}
	}
}

// TestALateMessageIsTaken: a message that has come when the wait for it ends is not dropped.
func TestALateMessageIsTaken(t *testing.T) {
	t.Parallel()
	for range 200 { // which of two ready channels is read is random
		s := &Subscription{bus: &Bus{}, single: &single{answers: make(chan *nats.Msg, 1), asked: time.Now().Add(-time.Hour)}}
		s.single.answers <- &nats.Msg{Reply: "$JS.ACK.x"}
		if msg, err := s.take(t.Context()); msg == nil || err != nil {
			t.Fatalf("%v, %v", msg, err)
		}
	}
}
