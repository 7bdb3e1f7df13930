package devo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/devosink/devocert"
)

// receiver is a stand-in for Devo, or for a relay, which keeps what it receives.
type receiver struct {
	*devosink.Sink
	mu   sync.Mutex
	rows []string
}

// newReceiver gives a stand-in and the values that lead to it.
func newReceiver(t *testing.T, secure bool) (*receiver, map[string]string) {
	t.Helper()
	r, values := &receiver{}, map[string]string{"DEVO_TLS": "false"}
	c := devosink.Config{OnEvent: func(e devosink.Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.rows = append(r.rows, strings.TrimSuffix(string(e.Frame.Raw), "\n"))
	}}
	if secure {
		var set *devocert.Set
		set, values = written(t, devocert.Options{})
		conf, err := set.Server()
		if err != nil {
			t.Fatal(err)
		}
		c.TLS = conf
	}
	sink, err := devosink.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sink.Close() })
	r.Sink, values["DEVO_ADDRESS"], values["DEVO_HOSTNAME"] = sink, sink.Addr(), "collector-1"
	return r, values
}

func (r *receiver) received() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.rows...)
}

func dial(t *testing.T, values map[string]string) *Dialer {
	t.Helper()
	c, err := loaded(t, values)
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDialer(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// events is a batch of a table; the second is longer than what is collected before a write.
func events(n int) *batch.Events {
	e := &batch.Events{Table: fmt.Sprintf("my.app.a.b%d", n)}
	for i := range 3 * n {
		row := fmt.Sprintf(`{"n":%d,"row":%d,"fill":%q}`, n, i, strings.Repeat("x", n*n*10_000))
		e.Events = append(e.Events, batch.Event{PullMS: 1_772_000_000_123 + int64(i/2), JSON: []byte(row)})
	}
	return e
}

// TestRowsAreReceivedAndConfirmed: over TLS and to a relay, compressed or not, by acknowledgement
// and by rotation. The bytes are those that a framer of syslog writes.
func TestRowsAreReceivedAndConfirmed(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{true, false} {
		for _, compress := range []string{CompressOff, CompressGzip} {
			for _, confirm := range []string{ConfirmAcked, ConfirmRotate} {
				t.Run(fmt.Sprintf("tls %t, %s, %s", secure, compress, confirm), func(t *testing.T) {
					t.Parallel()
					sink, values := newReceiver(t, secure)
					d := dial(t, with(values, map[string]string{"DEVO_COMPRESS": compress, "DEVO_CONFIRM": confirm, "DEVO_ROTATE_AFTER": "50ms", "DEVO_SETTLE": "10ms"}))
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					c, err := d.Open(ctx)
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					var want []string
					const batches = 3
					for n := range batches {
						e := events(n + 1)
						if err := c.Send(e); err != nil {
							t.Fatal(err)
						}
						for i := range e.Events {
							date := time.UnixMilli(e.Events[i].PullMS).UTC().Format("2006-01-02 15:04:05.000")
							want = append(want, "<14>"+date+" collector-1 "+e.Table+": "+string(e.Events[i].JSON))
						}
					}
					confirmed, err := 0, error(nil)
					for confirmed < batches && err == nil {
						var n int
						n, err = c.Confirm(ctx)
						confirmed += n
					}
					if confirmed != batches || confirm == ConfirmAcked && err != nil || confirm == ConfirmRotate && !errors.Is(err, ErrRotated) {
						t.Fatalf("%d batches are confirmed, %v", confirmed, err)
					}
					if confirm == ConfirmRotate {
						if err := c.Send(events(1)); !errors.Is(err, ErrRotated) {
							t.Errorf("sent behind the end: %v", err)
						}
					}
					if size := int64(len(strings.Join(want, "\n"))); (compress == CompressGzip) != (c.cipher.given() < size/2) {
						t.Errorf("%d bytes of rows are %d on the wire", size, c.cipher.given())
					}
					got := sink.received()
					for tick := time.Tick(time.Millisecond); len(got) < len(want) && ctx.Err() == nil; got = sink.received() {
						<-tick
					}
					if strings.Join(got, "\n") != strings.Join(want, "\n") {
						t.Errorf("%d rows were received, want %d", len(got), len(want))
					}
				})
			}
		}
	}
}

// TestWhoIsTrusted: a server's chain always counts, and its name unless an operator switches that
// off.
func TestWhoIsTrusted(t *testing.T) {
	t.Parallel()
	_, values := newReceiver(t, true)
	_, stranger := newReceiver(t, true)
	for name, trial := range map[string]struct {
		values map[string]string
		want   string
	}{
		"itself":                           {values, ""},
		"the name is given":                {with(values, map[string]string{"DEVO_SERVER_NAME": "localhost"}), ""},
		"another name":                     {with(values, map[string]string{"DEVO_SERVER_NAME": "other"}), "TLS"},
		"another name, which is no matter": {with(values, map[string]string{"DEVO_SERVER_NAME": "other", "DEVO_VERIFY_HOSTNAME": "false"}), ""},
		"another chain":                    {with(values, map[string]string{"DEVO_ADDRESS": stranger["DEVO_ADDRESS"]}), "TLS"},
		"another chain, whatever its name": {with(values, map[string]string{"DEVO_ADDRESS": stranger["DEVO_ADDRESS"], "DEVO_VERIFY_HOSTNAME": "false"}), "TLS"},
		"no server":                        {with(values, map[string]string{"DEVO_ADDRESS": "127.0.0.1:1"}), "connect to Devo"},
	} {
		c, err := dial(t, trial.values).Open(t.Context())
		if (err != nil) != (trial.want != "") || err != nil && !strings.Contains(err.Error(), trial.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			c.Close()
		}
	}
}

// TestOldConnections: by age, or because the certificates have changed.
func TestOldConnections(t *testing.T) {
	t.Parallel()
	_, values := newReceiver(t, false)
	d := dial(t, with(values, map[string]string{"DEVO_MAX_AGE": "1h"}))
	c, err := d.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Old() {
		t.Error("old at once")
	}
	d.keys.generation++
	if !c.Old() {
		t.Error("not old although there are new certificates")
	}
	d.keys.generation--
	if c.opened = time.Now().Add(-time.Hour - time.Second); !c.Old() {
		t.Error("not old after its age")
	}
}

// TestAConnectionThatIsLostTakesNothing: what is sent afterwards is refused with the reason, and so
// is the confirmation.
func TestAConnectionThatIsLostTakesNothing(t *testing.T) {
	t.Parallel()
	for _, confirm := range []string{ConfirmAcked, ConfirmRotate} {
		sink, values := newReceiver(t, true)
		c, err := dial(t, with(values, map[string]string{"DEVO_CONFIRM": confirm, "DEVO_ROTATE_AFTER": "1m"})).Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := sink.Close(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		reason := c.Wait(ctx)
		if reason == nil {
			t.Fatal("the end was not noticed")
		}
		if n, err := c.Confirm(ctx); n != 0 || err == nil || errors.Is(err, ErrRotated) || ctx.Err() != nil {
			t.Errorf("%s: %d batches are confirmed, %v", confirm, n, err)
		}
		c.Close()
		if err := c.Send(events(1)); !errors.Is(err, reason) {
			t.Errorf("%s: sent: %v, want %v", confirm, err, reason)
		}
	}
}

// TestMembers can be read one by one and together.
func TestMembers(t *testing.T) {
	t.Parallel()
	var p packer
	var all []byte
	for _, rows := range []string{"one\n", "two\n", "three\n"} {
		m, err := p.member([]byte(rows))
		if err != nil {
			t.Fatal(err)
		}
		if got := unpacked(t, m); got != rows {
			t.Errorf("%q became %q", rows, got)
		}
		all = append(all, m...)
	}
	if got := unpacked(t, all); got != "one\ntwo\nthree\n" {
		t.Errorf("%q", got)
	}
}

func unpacked(t *testing.T, data []byte) string {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestHeaders: in each form of the date; a table or a time that changes changes the header.
func TestHeaders(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 5, 4, 10, 20, 30, 123e6, time.UTC)
	for layout, date := range map[string]string{"devo": "2026-05-04 10:20:30.123", "rfc3339": "2026-05-04T10:20:30.123Z", "rfc3164": "May  4 10:20:30"} {
		f := framer{host: "h", layout: layouts[layout]}
		row := func(table string, at time.Time, json string) string {
			return string(f.append(nil, table, &batch.Event{PullMS: at.UnixMilli(), JSON: []byte(json)}))
		}
		later := strings.Replace(date, ":30", ":31", 1)
		for i, c := range []struct{ got, want string }{
			{row("a.b", at, "{}"), "<14>" + date + " h a.b: {}\n"},
			{row("a.b", at, "[]"), "<14>" + date + " h a.b: []\n"},
			{row("a.c", at, "{}"), "<14>" + date + " h a.c: {}\n"},
			{row("a.c", at.Add(time.Second), "{}"), "<14>" + later + " h a.c: {}\n"},
		} {
			if c.got != c.want {
				t.Errorf("%s, row %d: %q, want %q", layout, i, c.got, c.want)
			}
		}
	}
	f := framer{host: "h", layout: layouts["devo"]}
	if got := string(f.append(nil, "", &batch.Event{JSON: []byte("{}")})); got != "<14>1970-01-01 00:00:00.000 h : {}\n" {
		t.Errorf("the first row of all: %q", got)
	}
}
