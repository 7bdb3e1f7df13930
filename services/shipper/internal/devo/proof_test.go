package devo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// glance is one look at a connection with three batches of 100 bytes each, and how many are
// confirmed by it.
type glance struct {
	after time.Duration // since the glance before
	said  said
	want  int
	stern bool          // the certificate may still be refused
	late  time.Duration // from the question to its evaluation
}

// TestProof: what the kernel may say, glance by glance. The connection must stand for a second
// after an acknowledgement; 40 bytes of the peer's were looked at.
func TestProof(t *testing.T) {
	t.Parallel()
	heard := func(bytes int64) said { return said{acked: bytes, received: 40, open: true} }
	with := func(s said, change func(*said)) said { change(&s); return s }
	for name, glances := range map[string][]glance{
		"nothing acknowledged": {{said: heard(0)}, {after: time.Hour, said: heard(0)}, {after: time.Hour, said: heard(99)}},
		"acknowledged, and stood for a second": {
			{said: heard(100)},
			{after: time.Second - 1, said: heard(100)},
			{after: 1, said: heard(100), want: 1},
			{after: time.Hour, said: heard(100)},
		},
		"all but one byte of the second": {{said: heard(199)}, {after: time.Hour, said: heard(199), want: 1}},
		"each at its time": {
			{said: heard(100)},
			{after: time.Second / 2, said: heard(200)},
			{after: time.Second / 2, said: heard(300), want: 1},
			{after: time.Second / 2, said: heard(300), want: 1},
			{after: time.Second / 2, said: heard(300), want: 1},
		},
		"all at once":        {{said: heard(300)}, {after: time.Second, said: heard(300), want: 3}},
		"more than was sent": {{said: heard(1000)}, {after: time.Second, said: heard(1000), want: 3}, {after: time.Second, said: heard(1000)}},
		"the other side has ended": {
			{said: heard(300)}, {after: time.Hour, said: with(heard(300), func(s *said) { s.open = false })},
		},
		"it has said something that we have not looked at": {
			{said: heard(300)}, {after: time.Hour, said: with(heard(300), func(s *said) { s.received = 41 })}, {after: 1, said: heard(300), want: 3},
		},
		"its program does not read": {
			{said: with(heard(300), func(s *said) { s.closed = true })},
			{after: time.Hour, said: with(heard(300), func(s *said) { s.closed = true })},
			{after: time.Second - 1, said: heard(300)},
			{after: 1, said: heard(300), want: 3},
		},
		"it may still refuse the certificate": {
			{said: heard(300)}, {after: time.Hour, said: heard(300), stern: true}, {after: 1, said: heard(300), want: 3},
		},
		"asked long before it is evaluated": {
			{said: heard(300), late: time.Hour}, {after: time.Hour, said: heard(300)}, {after: time.Second, said: heard(300), want: 3},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, left := proof{settle: time.Second}, 3
			for i := range int64(3) {
				p.sent((i + 1) * 100)
			}
			now := time.Unix(1_800_000_000, 0)
			for i, g := range glances {
				now = now.Add(g.after)
				if n := p.confirmed(g.said, view{asked: now, now: now.Add(g.late), judged: !g.stern, attended: 40}); n != g.want {
					t.Fatalf("glance %d confirms %d batches, want %d", i, n, g.want)
				}
				if left -= g.want; p.waiting() != left {
					t.Fatalf("after glance %d %d batches wait, want %d", i, p.waiting(), left)
				}
			}
		})
	}
}

// TestNothingIsConfirmedTooEarly plays random connections: each batch is confirmed at a moment at
// which all of it had been acknowledged for long enough on an open connection whose program read,
// and none is forgotten.
func TestNothingIsConfirmedTooEarly(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		p, now, s := proof{settle: 100}, time.Unix(1_800_000_000, 0), said{open: true}
		var ends []int64         // of the batches, in the stream
		var standing []time.Time // since when each was acknowledged while the other program read
		confirmed, total := 0, int64(0)
		for range 200 {
			now = now.Add(time.Duration(rnd.IntN(60)))
			if rnd.IntN(3) == 0 {
				total += int64(1 + rnd.IntN(50))
				ends, standing = append(ends, total), append(standing, time.Time{})
				p.sent(total)
			}
			s.acked = min(total, s.acked+int64(rnd.IntN(40)))
			s.closed, s.received, s.open = rnd.IntN(8) == 0, int64(rnd.IntN(2)), rnd.IntN(6) > 0
			judged := rnd.IntN(4) > 0
			for i, end := range ends {
				if end <= s.acked && (standing[i].IsZero() || s.closed) {
					standing[i] = now
				}
			}
			want := 0
			for i := confirmed; i < len(ends) && !standing[i].IsZero() && now.Sub(standing[i]) >= 100; i++ {
				want++
			}
			if !judged || !s.open || s.received > 0 {
				want = 0
			}
			if n := p.confirmed(s, view{asked: now, now: now, judged: judged}); n != want {
				t.Fatalf("seed %d: %d batches are confirmed, want %d", seed, n, want)
			}
			if confirmed += want; p.waiting() != len(ends)-confirmed {
				t.Fatalf("seed %d: %d batches wait, want %d", seed, p.waiting(), len(ends)-confirmed)
			}
		}
	}
}

// TestStall: only acknowledgements are progress.
func TestStall(t *testing.T) {
	t.Parallel()
	p, now := progress{limit: time.Minute}, time.Unix(1_800_000_000, 0)
	for i, step := range []struct {
		after time.Duration
		acked int64
		want  bool
	}{
		{0, 0, false},
		{time.Minute, 0, false},
		{1, 0, true},
		{0, 1, false},
		{time.Minute, 1, false},
		{time.Minute, 2, false},
		{time.Minute + 1, 2, true},
		{0, 1, true},
	} {
		now = now.Add(step.after)
		if got := p.stalled(step.acked, now); got != step.want {
			t.Errorf("step %d: stalled %t", i, got)
		}
	}
}

// kernel is what a connection sees instead of what its own says.
type kernel struct {
	mu   sync.Mutex
	said said
	err  error
}

func (k *kernel) ask() (said, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.said, k.err
}

func (k *kernel) say(s said, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.said, k.err = s, err
}

// scripted is a connection without a network, on which ten bytes were sent in one batch.
func scripted() (*Conn, *kernel) {
	const bytes = 10
	k := &kernel{said: said{open: true}}
	c := &Conn{
		cfg: Config{Confirm: ConfirmAcked, Settle: time.Second, StallTimeout: time.Minute}, ask: k.ask, lost: make(chan struct{}),
		cipher: &countedConn{count: bytes}, proof: proof{settle: time.Second},
	}
	c.shaken = time.Now()
	c.proof.sent(bytes)
	return c, k
}

// TestConfirm: how long it waits, and what ends it.
func TestConfirm(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, trial := range map[string]struct {
		play     func(*Conn, *kernel, context.CancelFunc) // beside Confirm
		n        int
		err      error
		took     time.Duration // at least, and at most a moment more
		finishes bool          // the connection
	}{
		"acknowledged at once": {func(c *Conn, k *kernel, _ context.CancelFunc) {
			c.admitted.Store(true)
			k.say(said{acked: 10, open: true}, nil)
		}, 1, nil, time.Second, false},
		"acknowledged after half a minute": {func(c *Conn, k *kernel, _ context.CancelFunc) {
			c.admitted.Store(true)
			<-time.After(30 * time.Second)
			k.say(said{acked: 10, open: true}, nil)
		}, 1, nil, 31 * time.Second, false},
		"nobody has judged the certificate": {func(_ *Conn, k *kernel, _ context.CancelFunc) {
			k.say(said{acked: 10, open: true}, nil)
		}, 1, nil, objection, false},
		"nothing is acknowledged": {func(c *Conn, _ *kernel, _ context.CancelFunc) { c.admitted.Store(true) }, 0, errStalled, time.Minute, true},
		"a part is acknowledged, and no more": {func(c *Conn, k *kernel, _ context.CancelFunc) {
			c.admitted.Store(true)
			<-time.After(30 * time.Second)
			k.say(said{acked: 9, open: true}, nil)
		}, 0, errStalled, 90 * time.Second, true},
		"the kernel does not answer": {func(_ *Conn, k *kernel, _ context.CancelFunc) { k.say(said{}, broken) }, 0, broken, 0, true},
		"the connection is lost": {func(c *Conn, _ *kernel, _ context.CancelFunc) {
			<-time.After(10 * time.Second)
			c.fail(errEnded)
		}, 0, errEnded, 10 * time.Second, true},
		"no longer wanted": {func(_ *Conn, _ *kernel, stop context.CancelFunc) {
			<-time.After(5 * time.Second)
			stop()
		}, 0, context.Canceled, 5 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, k := scripted()
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				go trial.play(c, k, stop)
				synctest.Wait()
				began := time.Now()
				n, err := c.Confirm(ctx)
				if took := time.Since(began); took < trial.took || took > trial.took+100*time.Millisecond {
					t.Errorf("it took %s, want %s", took, trial.took)
				}
				if n != trial.n || !errors.Is(err, trial.err) {
					t.Errorf("%d batches, %v; want %d, %v", n, err, trial.n, trial.err)
				}
				select {
				case <-c.lost:
					if !trial.finishes {
						t.Error("the connection is finished")
					}
				default:
					if trial.finishes {
						t.Error("the connection goes on")
					}
				}
			})
		})
	}
}

// TestParting: the end of a connection that we ended confirms what it carried only if the peer had
// heard all of it.
func TestParting(t *testing.T) {
	t.Parallel()
	for i, trial := range []struct {
		end   error
		acked int64
		ask   error
		want  error
	}{
		{io.EOF, 10, nil, ErrRotated},
		{io.EOF, 11, nil, ErrRotated},
		{fmt.Errorf("read: %w", io.EOF), 10, nil, ErrRotated},
		{io.EOF, 9, nil, errUnheard},
		{io.EOF, 0, nil, errUnheard},
		{io.EOF, 10, io.ErrUnexpectedEOF, errUnheard},
		{io.EOF, 0, errNoProof, ErrRotated}, // not on Linux
		{syscall.ECONNRESET, 10, nil, syscall.ECONNRESET},
		{syscall.ECONNRESET, 10, errNoProof, syscall.ECONNRESET},
		{syscall.ETIMEDOUT, 9, nil, syscall.ETIMEDOUT},
	} {
		c, k := scripted()
		k.say(said{acked: trial.acked}, trial.ask)
		if err := c.parted(trial.end); !errors.Is(err, trial.want) || errors.Is(err, ErrRotated) != errors.Is(trial.want, ErrRotated) {
			t.Errorf("trial %d: %v, want %v", i, err, trial.want)
		}
	}
}

// TestTheFirstReasonStays: whatever ends a connection later.
func TestTheFirstReasonStays(t *testing.T) {
	t.Parallel()
	c, _ := scripted()
	c.fail(errStalled)
	c.fail(errEnded)
	if err := c.Wait(t.Context()); !errors.Is(err, errStalled) {
		t.Error(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	other, _ := scripted()
	if err := other.Wait(ctx); err != nil {
		t.Error(err)
	}
}
