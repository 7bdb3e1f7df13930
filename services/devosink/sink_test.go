package devosink_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/devosink/devocert"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stand is a sink and a client of it.
type stand struct {
	*devosink.Sink
	client *tls.Config
}

func newStand(t *testing.T) stand {
	t.Helper()
	set, err := devocert.New(devocert.Options{Domain: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	server, err := set.Server()
	if err != nil {
		t.Fatal(err)
	}
	sink, err := devosink.New(devosink.Config{TLS: server})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sink.Close() })
	pair, err := tls.X509KeyPair(set.ClientCert, set.ClientKey)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(set.Chain)
	return stand{sink, &tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: []tls.Certificate{pair}}}
}

func (s stand) dial(ctx context.Context) (*tls.Conn, error) {
	d := tls.Dialer{Config: s.client}
	conn, err := d.DialContext(ctx, "tcp", s.Addr())
	if err != nil {
		return nil, err
	}
	return conn.(*tls.Conn), nil // tls.Dialer promises it
}

// open connects, or fails the test.
func (s stand) open(t *testing.T) *tls.Conn {
	t.Helper()
	conn, err := s.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (s stand) await(t *testing.T, enough func(devosink.Snapshot) bool) devosink.Snapshot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	snap, err := s.WaitFor(ctx, enough)
	if err != nil {
		t.Fatalf("%v: %+v", err, snap)
	}
	return snap
}

func line(i int) string {
	return fmt.Sprintf("<14>2026-03-11 08:00:00.000 host my.app.tag: {\"n\":%d,\"@tapline_id\":\"%d\"}\n", i, i)
}

func lines(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(line(i))
	}
	return b.String()
}

func send(t *testing.T, conn io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsSentIsStored(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	conn := s.open(t)
	send(t, conn, lines(100)+line(7)+"<14>half of")
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil { // it answers the end with its own
		t.Fatal(err)
	}
	snap := s.await(t, func(s devosink.Snapshot) bool { return s.Events == 102 })
	if snap.Duplicates != 1 || snap.Partial != 1 || snap.Tags["my.app.tag"] != 101 || snap.Connections != 1 {
		t.Errorf("%+v", snap)
	}
	e := s.Events("my.app.tag")[3]
	if string(e.Message) != `{"n":3,"@tapline_id":"3"}` || e.Host != "host" || e.Subject != "acme" || e.Connection != 1 {
		t.Errorf("%+v", e)
	}
	if d := s.Duplicates(); len(d) != 1 || d["7"] != 2 {
		t.Errorf("duplicates %v", d)
	}
}

func TestStrangersAreNotLetIn(t *testing.T) {
	t.Parallel()
	s, other := newStand(t), newStand(t)
	s.client.Certificates = other.client.Certificates
	conn, err := s.dial(t.Context())
	if err == nil { // TLS 1.3: the refusal comes after the client believes to be connected
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
	}
	if err == nil || s.Snapshot().Connections != 0 {
		t.Errorf("%v, %+v", err, s.Snapshot())
	}
}

// TestFaults checks from outside what each fault does, and that it is over when
// it is cleared.
func TestFaults(t *testing.T) {
	t.Parallel()
	fails := func(t *testing.T, s stand) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		conn, err := s.dial(ctx)
		if err == nil {
			defer conn.Close()
			_, err = conn.Read(make([]byte, 1))
		}
		if err == nil {
			t.Error("connected")
		}
	}
	breaks := func(t *testing.T, s stand) {
		t.Helper()
		conn := s.open(t)
		_, _ = io.WriteString(conn, lines(50)) // it may break already here
		if err := conn.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
			t.Fatal(err)
		}
		_, err := conn.Read(make([]byte, 1))
		var timeout net.Error
		if err == nil || (errors.As(err, &timeout) && timeout.Timeout()) {
			t.Errorf("the connection stands: %v", err)
		}
	}
	// Each look has a tag of its own: a broken connection may still store what it had.
	stores := func(tag string, n int64) func(*testing.T, stand) {
		return func(t *testing.T, s stand) {
			t.Helper()
			conn := s.open(t)
			send(t, conn, strings.ReplaceAll(lines(10), "my.app.tag", tag))
			if err := conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, conn); err != nil {
				t.Fatal(err)
			}
			if got := s.Snapshot().Tags[tag]; got != n {
				t.Errorf("%d events, want %d", got, n)
			}
		}
	}
	for _, c := range []struct {
		fault devosink.Fault
		check func(*testing.T, stand)
	}{
		{devosink.Fault{Kind: devosink.FaultRefuse}, fails},
		{devosink.Fault{Kind: devosink.FaultNoHandshake}, fails},
		{devosink.Fault{Kind: devosink.FaultRefuseCertificate}, fails},
		{devosink.Fault{Kind: devosink.FaultReset, Bytes: 1}, breaks},
		{devosink.Fault{Kind: devosink.FaultFIN, Bytes: 1}, breaks},
		{devosink.Fault{Kind: devosink.FaultReset, Bytes: 1, Delay: 10 * time.Millisecond}, breaks},
		{devosink.Fault{Kind: devosink.FaultBareFIN, Bytes: 1}, breaks},
		{devosink.Fault{Kind: devosink.FaultIdle, Delay: 10 * time.Millisecond}, breaks},
		{devosink.Fault{Kind: devosink.FaultRefuseCertificate, Delay: 10 * time.Millisecond}, fails},
		{devosink.Fault{Kind: devosink.FaultSlow, Delay: time.Millisecond}, stores("during", 10)},
		{devosink.Fault{Kind: devosink.FaultDiscard}, stores("during", 0)},
		{devosink.Fault{Kind: devosink.FaultTwice}, stores("during", 20)},
		{devosink.Fault{Kind: devosink.FaultCut, Bytes: 60}, stores("during", 10)},
		{devosink.Fault{Kind: devosink.FaultSplit, Bytes: 60}, stores("during", 10)}, // the rest of each has no tag
		{devosink.Fault{Kind: devosink.FaultDrop, Bytes: 60}, stores("during", 0)},
		{devosink.Fault{Kind: devosink.FaultDrop, Bytes: 6000}, stores("during", 10)},
	} {
		t.Run(string(c.fault.Kind), func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			if err := s.Inject(c.fault); err != nil {
				t.Fatal(err)
			}
			if f := s.Faults(); len(f) != 1 || f[0] != c.fault {
				t.Errorf("faults %+v", f)
			}
			c.check(t, s)
			if err := s.Clear(); err != nil {
				t.Fatal(err)
			}
			stores("after", 10)(t, s)
		})
	}
}

// TestAConnectionIsCutAtAByte: be it in the middle of a record.
func TestAConnectionIsCutAtAByte(t *testing.T) {
	t.Parallel()
	for _, kind := range []devosink.FaultKind{devosink.FaultFIN, devosink.FaultBareFIN, devosink.FaultReset} {
		s := newStand(t)
		at := len(line(0)) + 50
		if err := s.Inject(devosink.Fault{Kind: kind, Bytes: int64(at)}); err != nil {
			t.Fatal(err)
		}
		send(t, s.open(t), lines(9))
		s.await(t, func(s devosink.Snapshot) bool { return s.Open == 0 && s.Connections == 1 })
		got := s.Events("")
		if len(got) != 2 || string(got[1].Frame.Raw) != lines(2)[len(line(0)):at] || !got[1].Frame.Partial {
			t.Errorf("%s: %+v", kind, got)
		}
	}
}

// TestARelayTakesPlainTCP, without asking who it is.
func TestARelayTakesPlainTCP(t *testing.T) {
	t.Parallel()
	sink, err := devosink.New(devosink.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	conn, err := net.Dial("tcp", sink.Addr()) //nolint:noctx // it is loopback
	if err != nil {
		t.Fatal(err)
	}
	send(t, conn, lines(7))
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	s := stand{Sink: sink}
	s.await(t, func(s devosink.Snapshot) bool { return s.Events == 7 && s.Open == 0 })
}

func TestStallEndsWhenCleared(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	if err := s.Inject(devosink.Fault{Kind: devosink.FaultStall}); err != nil {
		t.Fatal(err)
	}
	conn := s.open(t)
	send(t, conn, lines(10))
	s.await(t, func(s devosink.Snapshot) bool { return s.Connections == 1 })
	if n := s.Snapshot().Events; n != 0 {
		t.Errorf("%d events during a stall", n)
	}
	if err := s.Clear(); err != nil {
		t.Fatal(err)
	}
	s.await(t, func(s devosink.Snapshot) bool { return s.Events == 10 })
}

func TestQueries(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	conn := s.open(t)
	send(t, conn, lines(5)+"<14>2026-03-11 08:00:00.000 host other.tag: no JSON\n")
	s.await(t, func(s devosink.Snapshot) bool { return s.Events == 6 })
	ask := func(method, path, body string) (int, string) {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
		return w.Code, w.Body.String()
	}
	for _, c := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"GET", "/_sink/counts", "", 200, `"events":6`},
		{"GET", "/_sink/events?tag=other.tag", "", 200, `"text":"no JSON"`},
		{"GET", "/_sink/events?limit=x", "", 400, "limit"},
		{"GET", "/_sink/events?from=yesterday", "", 400, "from"},
		{"GET", "/_sink/duplicates", "", 200, "{}"},
		{"POST", "/_sink/faults", `{"kind":"discard"}`, 201, ""},
		{"GET", "/_sink/faults", "", 200, `"discard"`},
		{"POST", "/_sink/faults", `{"kind":"nonsense"}`, 400, "want one of"},
		{"POST", "/_sink/faults", `{`, 400, ""},
		{"DELETE", "/_sink/faults", "", 204, ""},
		{"GET", "/_sink/nothing", "", 404, ""},
	} {
		if code, text := ask(c.method, c.path, c.body); code != c.code || !strings.Contains(text, c.want) {
			t.Errorf("%s %s: %d %q", c.method, c.path, code, text)
		}
	}
	_, text := ask("GET", "/_sink/events?tag=my.app.tag&limit=2&from=2000-01-01T00:00:00Z", "")
	if n := strings.Count(text, "\n"); n != 2 {
		t.Errorf("%d lines: %s", n, text)
	}
	for l := range strings.Lines(text) {
		if !json.Valid([]byte(l)) {
			t.Errorf("line %q", l)
		}
	}
	if code, _ := ask(http.MethodDelete, "/_sink/events", ""); code != 204 || s.Snapshot().Events != 0 {
		t.Errorf("%d, %+v", code, s.Snapshot())
	}
}
