package shipper_test

import (
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/services/devosink"
)

// impatient is a bus with faults that redelivers after a second.
func impatient(t *testing.T) (*bus.Bus, *bustest.Faults) {
	t.Helper()
	b, faults := bustest.StartFaulty(t)
	limits := bustest.Limits
	limits.AckWait = time.Second
	if err := bustest.Connect(t, faults.Server).Setup(t.Context(), limits, nil); err != nil {
		t.Fatal(err)
	}
	return b, faults
}

// confirmed counts the rows that the ledger shows as confirmed.
func confirmed(t *testing.T, b *bus.Bus) (rows int64) {
	t.Helper()
	pages, err := book(t, b).Load(t.Context(), "main", time.UnixMilli(pulled).Add(-time.Hour), time.UnixMilli(pulled).Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for raw := range uint64(1000) {
		_, sent := pages.Batch(raw)
		for _, s := range sent {
			rows += s.GetEvents()
		}
	}
	return rows
}

// TestNotedBeforeAcknowledged: when a message is done the ledger has it, whatever failed before. A
// message that is done is not recorded any more, so it must be done last.
func TestNotedBeforeAcknowledged(t *testing.T) {
	t.Parallel()
	for name, trial := range map[string]struct {
		call  bustest.Call
		fault bustest.Fault
		once  bool // no row comes twice
	}{
		"nothing fails":                {once: true},
		"the note is refused":          {call: bustest.Write(bus.BucketLedger), fault: bustest.Fault{Times: 2}},
		"the answer to it is lost":     {call: bustest.Write(bus.BucketLedger), fault: bustest.Fault{After: true}, once: true},
		"the page cannot be read":      {call: bustest.Read(bus.BucketLedger)},
		"the acknowledgement is lost":  {call: bustest.Acks(bus.ConsumerShipper), fault: bustest.Fault{Times: 1, Silent: true}, once: true},
		"several of them":              {call: bustest.Acks(bus.ConsumerShipper), fault: bustest.Fault{Times: 3, Silent: true}, once: true},
		"the second note is refused":   {call: bustest.Write(bus.BucketLedger), fault: bustest.Fault{Skip: 1}},
		"nothing can be asked for now": {call: bustest.Pull(bus.ConsumerShipper), fault: bustest.Fault{Times: 2}, once: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, faults := impatient(t)
			aside := bustest.Connect(t, faults.Server)
			fillJob(t, aside, 0, 1, 10)
			if trial.call != nil {
				faults.Fail(trial.call, trial.fault)
			}
			sink, environ := relay(t, devosink.Full)
			begin(t, b, nil, append(environ, "SHIPPER_CONNECTIONS=1"))
			settled(t, aside)
			if n := confirmed(t, aside); n != 10 {
				t.Errorf("the ledger has %d rows of 10", n)
			}
			if got := sink.Snapshot(); got.Events-got.Duplicates != 10 || trial.once && got.Duplicates > 0 {
				t.Errorf("the sink has %d rows, %d of them twice", got.Events, got.Duplicates)
			}
			if got := alarms(t, aside); len(got) > 0 {
				t.Errorf("alarms: %v", got)
			}
		})
	}
}

// TestALetterBeforeTheEnd: a row that cannot be sent is in DEAD when its message is done, though
// DEAD could not be written at first.
func TestALetterBeforeTheEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; make test runs it")
	}
	t.Parallel()
	b, faults := impatient(t)
	aside := bustest.Connect(t, faults.Server)
	e := jobBatch(0, 2)
	e.Events[1].JSON = []byte("{\"a\":\n1}")
	publish(t, aside, e)
	dead := faults.Fail(bustest.Store(bus.StreamDead), bustest.Fault{Times: 2})
	sink, environ := relay(t, devosink.Full)
	begin(t, b, nil, append(environ, "SHIPPER_CONNECTIONS=1"))
	settled(t, aside)
	if n := len(bustest.Messages(t, faults.Server, bus.StreamDead)); n != 1 || dead.Met() != 2 {
		t.Errorf("%d letters after %d refusals", n, dead.Met())
	}
	if got := sink.Snapshot(); got.Events != 1 || confirmed(t, aside) != 1 {
		t.Errorf("the sink has %d rows, the ledger %d", got.Events, confirmed(t, aside))
	}
}
