package replay

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// world is an order, its consumer as a server keeps it, and processes that die at any moment.
type world struct {
	stored *taplinev1.Replay
	first  *taplinev1.ReplayOrder
	now    time.Time

	acked map[uint64]bool   // by the server
	held  map[uint64]string // delivered to a process and not acknowledged
	sent  map[uint64]int    // confirmed by the sink
	noted map[uint64]bool
	over  taplinev1.ReplayState // once it is final
}

var processes = []string{"a", "b", "c"}

func newWorld(t *rapid.T) *world {
	n := rapid.Uint64Range(1, 12).Draw(t, "messages")
	o := &taplinev1.ReplayOrder{Id: "x", FirstSequence: 1, LastSequence: n, Messages: n}
	return &world{
		stored: &taplinev1.Replay{Order: o, State: ordered}, first: proto.CloneOf(o), now: time.Unix(1_000_000, 0),
		acked: map[uint64]bool{}, held: map[uint64]string{}, sent: map[uint64]int{}, noted: map[uint64]bool{},
	}
}

// change is a compare-and-set that succeeds.
func (w *world) change(f func(*taplinev1.Replay) error) error {
	next := proto.CloneOf(w.stored)
	if err := f(next); err != nil {
		return err
	}
	w.stored = next
	return nil
}

func (w *world) floor() (floor uint64) {
	for floor < w.first.GetLastSequence() && w.acked[floor+1] {
		floor++
	}
	return floor
}

func (w *world) process(t *rapid.T) string { return rapid.SampledFrom(processes).Draw(t, "process") }

func (w *world) claim(t *rapid.T) {
	p := w.process(t)
	before := w.stored
	err := w.change(func(r *taplinev1.Replay) error { return claim(r, p, w.now) })
	if err != nil {
		return
	}
	if o := before.GetOwner(); o != "" && o != p && w.now.Before(before.GetOwnerUntil().AsTime()) {
		t.Fatalf("%s took the order from %s, whose lease holds", p, o)
	}
}

// work has a process take a message, send it, record it, and acknowledge it, and die in between.
func (w *world) work(t *rapid.T) {
	p := w.process(t)
	sequence := rapid.Uint64Range(1, w.first.GetLastSequence()).Draw(t, "sequence")
	if w.acked[sequence] || w.held[sequence] != "" || w.stored.GetProgress() == nil {
		return
	}
	if counted(w.stored, sequence) { // it is redelivered
		if !w.noted[sequence] {
			t.Fatalf("message %d counts as settled and was never noted", sequence)
		}
		w.acked[sequence] = true
		return
	}
	w.held[sequence] = p
	if rapid.Bool().Draw(t, "dies before sending") {
		return
	}
	w.sent[sequence]++
	if rapid.Bool().Draw(t, "dies before noting") {
		return
	}
	err := w.change(func(r *taplinev1.Replay) error {
		return count(r, p, []Tally{{Sequence: sequence, Rows: 7}, {Sequence: sequence, Rows: 7}})
	})
	if err != nil {
		if !errors.Is(err, ErrNotMine) || w.stored.GetOwner() == p {
			t.Fatalf("%s cannot note: %v", p, err)
		}
		return
	}
	w.noted[sequence] = true
	if !rapid.Bool().Draw(t, "dies before acknowledging") {
		w.acked[sequence] = true
		delete(w.held, sequence)
	}
}

// finish is what the runner does when the consumer shows that nothing is left.
func (w *world) finish(t *rapid.T) {
	if w.floor() < w.first.GetLastSequence() {
		return
	}
	p := w.process(t)
	if err := w.change(func(r *taplinev1.Replay) error { return finish(r, p, w.now) }); err == nil && Missed(w.stored) != 0 {
		t.Fatalf("done, and %d messages were missed", Missed(w.stored))
	}
}

func (w *world) check(t *rapid.T) {
	if !proto.Equal(w.stored.GetOrder(), w.first) {
		t.Fatal("the order has changed")
	}
	if w.over != 0 && w.stored.GetState() != w.over {
		t.Fatalf("an order that was %s is %s", w.over, w.stored.GetState())
	}
	if Over(w.stored) {
		w.over = w.stored.GetState()
	}
	p := w.stored.GetProgress()
	if p.GetMessages() != uint64(len(w.noted)) || p.GetRows() != 7*p.GetMessages() {
		t.Fatalf("%d messages and %d rows counted of %d", p.GetMessages(), p.GetRows(), len(w.noted))
	}
	for _, s := range p.GetBeyond() {
		if s <= p.GetFloor() || !w.noted[s] {
			t.Fatalf("%d stands beyond the floor %d", s, p.GetFloor())
		}
	}
	for s := range w.acked {
		if w.sent[s] == 0 {
			t.Fatalf("message %d is acknowledged and was not sent", s)
		}
	}
	if w.stored.GetState() == running && w.stored.GetOwner() == "" {
		t.Fatal("it runs and nobody owns it")
	}
}

// TestAnOrderNeverLosesOrDoublesACount, whichever process dies when, with acknowledgements that the
// server forgets.
func TestAnOrderNeverLosesOrDoublesACount(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(map[string]func(*rapid.T){
			"claim":  w.claim,
			"work":   w.work,
			"finish": w.finish,
			"ack wait passes": func(*rapid.T) {
				clear(w.held)
			},
			"server forgets an ack": func(t *rapid.T) {
				delete(w.acked, rapid.Uint64Range(1, w.first.GetLastSequence()).Draw(t, "forgotten"))
			},
			"look": func(*rapid.T) {
				_ = w.change(func(r *taplinev1.Replay) error { raise(r, w.floor()); return nil })
			},
			"time passes": func(t *rapid.T) {
				w.now = w.now.Add(rapid.SampledFrom([]time.Duration{time.Second, lease / 2, lease, time.Hour}).Draw(t, "time"))
			},
			"release": func(t *rapid.T) {
				p := w.process(t)
				_ = w.change(func(r *taplinev1.Replay) error { return release(r, p, w.now) })
			},
			"pause": func(*rapid.T) { _ = w.change(func(r *taplinev1.Replay) error { return Pause(r, w.now) }) },
			"resume": func(t *rapid.T) {
				before := w.stored.GetState()
				if err := w.change(func(r *taplinev1.Replay) error { return Resume(r, w.now) }); (err == nil) != (before == paused) {
					t.Fatalf("resume what is %s: %v", before, err)
				}
			},
			"hold": func(t *rapid.T) {
				p := w.process(t)
				_ = w.change(func(r *taplinev1.Replay) error { return suspend(r, p, "because", w.now) })
			},
			"cancel": func(t *rapid.T) {
				if rapid.IntRange(0, 20).Draw(t, "really") == 0 {
					_ = w.change(func(r *taplinev1.Replay) error { return Cancel(r, w.now) })
				}
			},
			"": w.check,
		})
	})
}

// TestAnOrderEnds: one process that does not die brings any order that is not over to its end.
func TestAnOrderEnds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(0, 20).Draw(t, "steps") {
			w.claim(t)
			w.work(t)
			w.now = w.now.Add(time.Second)
		}
		w.now = w.now.Add(time.Hour)
		clear(w.held)
		if err := w.change(func(r *taplinev1.Replay) error { return claim(r, "last", w.now) }); err != nil {
			t.Fatal(err)
		}
		for s := uint64(1); s <= w.first.GetLastSequence(); s++ {
			if err := w.change(func(r *taplinev1.Replay) error { return count(r, "last", []Tally{{Sequence: s, Rows: 7}}) }); err != nil {
				t.Fatal(err)
			}
			w.acked[s] = true
		}
		if err := w.change(func(r *taplinev1.Replay) error { raise(r, w.floor()); return finish(r, "last", w.now) }); err != nil {
			t.Fatal(err)
		}
		if w.stored.GetState() != done || w.stored.GetProgress().GetMessages() != w.first.GetMessages() || Share(w.stored) != 1 || len(w.stored.GetProgress().GetBeyond()) != 0 {
			t.Fatalf("%v", w.stored)
		}
	})
}

// TestWhatIsRefused: what may not be done to an order, and what is said then.
func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	for _, state := range []taplinev1.ReplayState{done, cancelled, refused} {
		for name, change := range map[string]func(*taplinev1.Replay) error{
			"pause":  func(r *taplinev1.Replay) error { return Pause(r, now) },
			"resume": func(r *taplinev1.Replay) error { return Resume(r, now) },
			"cancel": func(r *taplinev1.Replay) error { return Cancel(r, now) },
			"finish": func(r *taplinev1.Replay) error { return finish(r, "", now) },
			"refuse": func(r *taplinev1.Replay) error { return refuse(r, "", "because", now) },
			"hold":   func(r *taplinev1.Replay) error { return suspend(r, "", "because", now) },
		} {
			r := &taplinev1.Replay{Order: &taplinev1.ReplayOrder{Id: "x"}, State: state}
			if err := change(r); !errors.Is(err, ErrOver) || r.GetState() != state {
				t.Errorf("%s what is %s: %v", name, StateName(r), err)
			}
		}
	}
	r := &taplinev1.Replay{Order: &taplinev1.ReplayOrder{Id: "x", Messages: 3}, State: ordered}
	if err := claim(r, "a", now); err != nil {
		t.Fatal(err)
	}
	if err := refuse(r, "b", "because", now); !errors.Is(err, ErrNotMine) {
		t.Errorf("a stranger refuses: %v", err)
	}
	if err := errors.Join(count(r, "a", []Tally{{Sequence: 5}}), finish(r, "a", now)); err != nil {
		t.Fatal(err)
	}
	if r.GetReason() != "2 of 3 messages were gone from the stream before they were reached" {
		t.Errorf("reason %q", r.GetReason())
	}
}

// TestIDs sort by age and can stand in the names of consumers and keys.
func TestIDs(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 11, 8, 0, 0, 0, time.UTC)
	var ids []string
	for i := range 50 {
		ids = append(ids, NewID(at.Add(time.Duration(i)*time.Second)))
	}
	if !slices.IsSorted(ids) {
		t.Errorf("%v", ids)
	}
	if want := "20260311-080000-"; len(ids[0]) != len(want)+5 || ids[0][:len(want)] != want {
		t.Errorf("%s", ids[0])
	}
	if a, b := NewID(at), NewID(at); a == b {
		t.Error(fmt.Sprint("the same id twice: ", a))
	}
}
