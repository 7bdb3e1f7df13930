package bustest

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/embedded"
)

// Call is a kind of request to the server: [Store], [Write], [Read], [Acks], [Naks] or [Pull].
type Call func(subject, header string, body []byte) bool

// Store is a publish into a stream. A job that is stored in RAW is one call, whatever number of
// messages it has.
func Store(stream string) Call {
	prefix, ok := map[string]string{bus.StreamJobs: "job.", bus.StreamRaw: "mark.", bus.StreamEvents: "event.", bus.StreamDead: "dead."}[stream]
	if !ok {
		panic("no stream " + stream)
	}
	return func(subject, _ string, _ []byte) bool { return strings.HasPrefix(subject, prefix) }
}

// Write is a change of keys of a bucket. Changes that are made together are one call.
func Write(bucket string) Call {
	return func(subject, header string, _ []byte) bool {
		return strings.HasPrefix(subject, "$KV."+bucket+".") &&
			(!strings.Contains(header, "Nats-Batch-Id:") || strings.Contains(header, "Nats-Batch-Commit:"))
	}
}

// Read is a read of one key of a bucket, or of several together.
func Read(bucket string) Call {
	one, several := direct+"KV_"+bucket+".", direct+"KV_"+bucket
	return func(subject, _ string, _ []byte) bool { return subject == several || strings.HasPrefix(subject, one) }
}

// Acks is each acknowledgement of a delivery of a consumer.
func Acks(c bus.Consumer) Call { return about(c, "+ACK") }

// Naks is each delivery of a consumer that is given back.
func Naks(c bus.Consumer) Call { return about(c, "-NAK") }

func about(c bus.Consumer, verdict string) Call {
	return func(subject, _ string, body []byte) bool {
		return strings.HasPrefix(subject, "$JS.ACK.") && strings.Contains(subject, "."+c.Stream+"."+c.Name+".") && bytes.HasPrefix(body, []byte(verdict))
	}
}

// Pull is a request for messages of a consumer.
func Pull(c bus.Consumer) Call {
	return func(subject, _ string, _ []byte) bool {
		return subject == "$JS.API.CONSUMER.MSG.NEXT."+c.Stream+"."+c.Name
	}
}

// Fault says which calls of a kind fail, and how. The zero value has the first one refused and not
// done.
type Fault struct {
	Skip int // calls that go through before
	// Times is how many fail then: 0 means 1, less than 0 all until [Planned.End].
	Times int
	// After has the server do it all the same; only its answer is lost. For a read it makes no
	// difference.
	After bool
	// Full has the server say that the stream is full; else that something is not available.
	Full bool
	// Busy has the server say that a message of the same subject is under way.
	Busy bool
	// Silent gives no answer at all: the caller waits for its own time-out of five seconds.
	Silent bool
	// Lose loses this message of an answer that has several, counted from 1; the others come.
	Lose int
}

// Faults stand between one connection and the real server, and let chosen calls fail.
type Faults struct {
	Server *embedded.Server // for connections that nothing fails on

	mu      sync.Mutex
	planned []*Planned
}

// Planned is a fault, or something to do, at certain calls.
type Planned struct {
	call  Call
	fault Fault
	do    func()

	mu   sync.Mutex
	left int           // to skip
	met  int           // calls that it met
	more chan struct{} // closed when met changes
	over bool
}

// StartFaulty is [Start] with faults. What is set up is so without any.
func StartFaulty(tb testing.TB, seeds ...bus.Seed) (*bus.Bus, *Faults) {
	tb.Helper()
	f := &Faults{Server: Server(tb)}
	if err := Connect(tb, f.Server).Setup(tb.Context(), Limits, seeds); err != nil {
		tb.Fatalf("set up the bus: %v", err)
	}
	return f.Connect(tb), f
}

// Connect gives one more connection with the same faults. It ends with the test.
func (f *Faults) Connect(tb testing.TB) *bus.Bus {
	tb.Helper()
	b, err := bus.InProcess(f, "test", discard)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(b.Close)
	return b
}

// InProcessConn implements nats.InProcessConnProvider.
func (f *Faults) InProcessConn() (net.Conn, error) {
	server, err := f.Server.InProcessConn()
	if err != nil {
		return nil, fmt.Errorf("connect in process: %w", err)
	}
	return between(server, f.meet), nil
}

// Fail plans a fault.
func (f *Faults) Fail(call Call, fault Fault) *Planned {
	if fault.Times == 0 {
		fault.Times = 1
	}
	return f.plan(&Planned{call: call, fault: fault, left: fault.Skip})
}

// At has something done at each such call, before the server sees it. Everything on the connection
// waits meanwhile, so that a test can look, over another connection, at what is there already.
func (f *Faults) At(call Call, do func()) *Planned {
	return f.plan(&Planned{call: call, fault: Fault{Times: -1}, do: do})
}

func (f *Faults) plan(p *Planned) *Planned {
	p.more = make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.planned = append(f.planned, p)
	return p
}

// meet gives the fault of a call, or nil.
func (f *Faults) meet(subject, header string, body []byte) *Fault {
	f.mu.Lock()
	planned := slices.Clip(f.planned)
	f.mu.Unlock()
	for _, p := range planned {
		switch {
		case !p.call(subject, header, body) || !p.due():
		case p.do == nil:
			p.count()
			return &p.fault
		default:
			p.do()
			p.count()
		}
	}
	return nil
}

// due reports whether a call is not one to skip, nor one too many.
func (p *Planned) due() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.over || p.left == 0 && p.fault.Times == 0:
		return false
	case p.left > 0:
		p.left--
		return false
	}
	p.fault.Times--
	return true
}

func (p *Planned) count() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.met++
	close(p.more)
	p.more = make(chan struct{})
}

// End lets all further calls through.
func (p *Planned) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
}

// Met is how many calls there were.
func (p *Planned) Met() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.met
}

// Await waits until there were so many calls.
func (p *Planned) Await(tb testing.TB, n int) {
	tb.Helper()
	for deadline := time.After(time.Minute); ; {
		p.mu.Lock()
		met, more := p.met, p.more
		p.mu.Unlock()
		if met >= n {
			return
		}
		select {
		case <-more:
		case <-deadline:
			tb.Fatalf("%d calls of %d", met, n)
		}
	}
}
