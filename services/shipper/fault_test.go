package shipper_test

import (
	"encoding/hex"
	"fmt"
	mathrand "math/rand/v2"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/tier"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/shipper"
)

const httpToken = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"

// proofs are the ways to confirm, and what leads to them.
var proofs = map[string][]string{
	"acked":  nil,
	"gzip":   {"DEVO_COMPRESS=gzip"},
	"rotate": {"DEVO_CONFIRM=rotate", "DEVO_ROTATE_AFTER=1s"},
	"http":   {"SINK=devo-http", "DEVO_HTTP_INSECURE=true", "DEVO_HTTP_DOMAIN=corp", "DEVO_HTTP_TOKEN=" + httpToken, "DEVO_HTTP_TIMEOUT=2s"},
}

// trial is one fault, and what it is expected to do.
type trial struct {
	fault  devosink.Fault
	proofs []string // empty means all over TLS
	// loses: the sink takes the rows and does not keep them whole. No transport can show that.
	loses bool
	// doubles: the sink keeps rows twice.
	doubles bool
	// harmless: nothing is logged, as nothing is lost or broken.
	harmless bool
}

// trials has every fault that devosink knows.
var trials = []trial{
	{fault: devosink.Fault{Kind: devosink.FaultRefuse}},
	{fault: devosink.Fault{Kind: devosink.FaultNoHandshake, Count: 2}, proofs: []string{"acked"}},
	{fault: devosink.Fault{Kind: devosink.FaultRefuseCertificate, Count: 2}},
	// The rows are acknowledged long before the certificate is refused.
	{fault: devosink.Fault{Kind: devosink.FaultRefuseCertificate, Delay: 500 * time.Millisecond, Count: 2}},
	{fault: devosink.Fault{Kind: devosink.FaultReset, Bytes: 1, Count: 2}},
	{fault: devosink.Fault{Kind: devosink.FaultReset, Bytes: 2_011, Delay: 100 * time.Millisecond, Count: 3}},
	{fault: devosink.Fault{Kind: devosink.FaultFIN, Bytes: 1, Count: 2}},
	{fault: devosink.Fault{Kind: devosink.FaultFIN, Bytes: 2_011, Count: 3}},
	{fault: devosink.Fault{Kind: devosink.FaultBareFIN, Bytes: 2_011, Count: 3}},
	{fault: devosink.Fault{Kind: devosink.FaultIdle, Delay: 15 * time.Second}, harmless: true},
	{fault: devosink.Fault{Kind: devosink.FaultStall, Bytes: 2_011}, proofs: []string{"acked", "rotate"}},
	{fault: devosink.Fault{Kind: devosink.FaultSlow, Delay: time.Millisecond}, proofs: []string{"acked"}, harmless: true},
	{fault: devosink.Fault{Kind: devosink.FaultDiscard}, loses: true, harmless: true},
	{fault: devosink.Fault{Kind: devosink.FaultTwice}, proofs: []string{"acked"}, doubles: true, harmless: true},
	{fault: devosink.Fault{Kind: devosink.FaultCut, Bytes: 1000}, proofs: []string{"acked"}, loses: true, harmless: true},
	{fault: devosink.Fault{Kind: devosink.FaultSplit, Bytes: 1000}, proofs: []string{"acked"}, loses: true, harmless: true},
	{fault: devosink.Fault{Kind: devosink.FaultDrop, Bytes: 1000}, proofs: []string{"acked"}, loses: true, harmless: true},
	{fault: devosink.Fault{Kind: devosink.FaultNoClose, Count: 1}, proofs: []string{"rotate"}},
	{fault: devosink.Fault{Kind: devosink.FaultStatus, Bytes: 503, Count: 3}, proofs: []string{"http"}},
	{fault: devosink.Fault{Kind: devosink.FaultStatus, Bytes: 413, Count: 3}, proofs: []string{"http"}, harmless: true},
	{fault: devosink.Fault{Kind: devosink.FaultReset, Count: 3}, proofs: []string{"http"}},
	{fault: devosink.Fault{Kind: devosink.FaultSlow, Delay: 3 * time.Second, Count: 2}, proofs: []string{"http"}},
	{fault: devosink.Fault{Kind: devosink.FaultLost, Count: 3}, proofs: []string{"http"}},
	{fault: devosink.Fault{Kind: devosink.FaultEndless, Bytes: 503, Count: 3}, proofs: []string{"http"}},
	{fault: devosink.Fault{Kind: devosink.FaultEndless, Bytes: 503, Delay: 100 * time.Millisecond, Count: 2}, proofs: []string{"http"}},
	{fault: devosink.Fault{Kind: devosink.FaultEndless, Bytes: 200, Count: 3}, proofs: []string{"http"}, loses: true, harmless: true},
	{fault: devosink.Fault{Kind: devosink.FaultDiscard}, proofs: []string{"http"}, loses: true, harmless: true},
	{fault: devosink.Fault{Kind: devosink.FaultTwice}, proofs: []string{"http"}, doubles: true, harmless: true},
}

// TestNothingIsLostToAFault: whatever the endpoint does, every row is there whole in the end,
// unless the sink itself has thrown it away; what is there more than once carries the same id.
func TestNothingIsLostToAFault(t *testing.T) {
	t.Parallel()
	tried := make(map[devosink.FaultKind]bool)
	for i, c := range trials {
		tried[c.fault.Kind] = true
		if c.proofs == nil {
			c.proofs = []string{"acked", "gzip", "rotate"}
		}
		if !tier.Long() { // one proof for each fault: they take turns
			c.proofs = []string{c.proofs[i%len(c.proofs)]}
		}
		for _, proof := range c.proofs {
			t.Run(fmt.Sprintf("%s %d %s/%s", c.fault.Kind, c.fault.Bytes, c.fault.Delay, proof), func(t *testing.T) {
				t.Parallel()
				c.run(t, proof)
			})
		}
	}
	// No rows are sent by a query, and rows that are refused have tests of their own.
	others := []devosink.FaultKind{devosink.FaultQueryStatus, devosink.FaultQueryCut, devosink.FaultRefuseLong, devosink.FaultRefuseText}
	for _, kind := range devosink.Kinds() {
		if !tried[kind] && !slices.Contains(others, kind) {
			t.Errorf("nobody tries the fault %s", kind)
		}
	}
}

// long makes rows that the sink's limits on size touch, beside the short ones, and that hardly get
// smaller.
var long = func() string {
	data := make([]byte, 1500)
	_, _ = mathrand.NewChaCha8([32]byte{}).Read(data) // never fails
	return hex.EncodeToString(data)
}()

func (c trial) run(t *testing.T, proof string) {
	t.Helper()
	const half, rows = 20, 30
	sink, environ := endpoint(t, devosink.Full)
	environ = append(environ, "DEVO_STALL_TIMEOUT=4s", "DEVO_SETTLE=2s")
	environ = append(environ, proofs[proof]...)
	if proof == "http" {
		server := httptest.NewServer(sink.Ingest("corp", httpToken))
		t.Cleanup(server.Close)
		environ = append(environ, "DEVO_HTTP_URL="+server.URL)
	}
	if c.fault.Kind == devosink.FaultRefuseCertificate {
		environ = append(environ, "DEVO_SETTLE=50ms") // what protects here is not the wait
	}
	b := bustest.Start(t)
	if err := sink.Inject(c.fault); err != nil {
		t.Fatal(err)
	}
	fillWith(t, b, load{0, half, rows, long})
	var held atomic.Int32
	r := prepared(t, shipper.Deps{Bus: b}, environ, func(s *shipper.Shipper) {
		if c.fault.Kind == devosink.FaultIdle {
			s.CountOpen(&held)
		}
	})
	if c.harmless {
		settled(t, b)
	} else {
		poll(t, "an outage", func() bool { return r.value(t, "tapline_shipper_connection_failures_total") > 0 })
	}
	if c.fault.Kind == devosink.FaultIdle {
		poll(t, "the end of what is idle, at both ends", func() bool { return sink.Snapshot().Open == 0 && held.Load() == 0 })
	}
	fillWith(t, b, load{half * rows, half, rows, ""})
	if c.fault.Count > 0 && !c.harmless {
		poll(t, "the end of the fault", func() bool { return len(sink.Faults()) == 0 })
	}
	if c.harmless {
		settled(t, b)
	}
	if err := sink.Clear(); err != nil {
		t.Fatal(err)
	}
	settled(t, b)
	if failures := r.value(t, "tapline_shipper_connection_failures_total"); c.harmless && failures > 0 {
		t.Errorf("%v connections failed", failures)
	}
	c.judge(t, sink, 2*half*rows)
	if up := r.value(t, "tapline_shipper_sink_up"); up != 1 {
		t.Error("the outage does not end")
	}
}

// judge looks at what the sink has of n rows.
func (c trial) judge(t *testing.T, sink *devosink.Sink, n int) {
	t.Helper()
	var want []string
	for i := range n {
		text := ""
		if i < n/2 {
			text = long
		}
		want = append(want, rowWith(i, text))
	}
	c.compare(t, sink, want)
}

// compare looks at what the sink has of the rows wanted.
func (c trial) compare(t *testing.T, sink *devosink.Sink, want []string) {
	t.Helper()
	n := len(want)
	have := make(map[string]int)
	whole := 0
	for _, e := range sink.Events("") {
		if !e.Frame.Partial {
			have[string(e.Message)]++
			whole++
		}
	}
	missing := 0
	for _, row := range want {
		if have[row] == 0 {
			missing++
		}
	}
	switch {
	case (missing > 0) != c.loses:
		t.Errorf("%d of %d rows are missing", missing, n)
	case len(have) > n:
		t.Errorf("%d different rows of %d: some are altered", len(have), n)
	case c.doubles && whole < 2*n:
		t.Errorf("%d rows, want each twice", whole)
	}
	if twice := whole - len(have); twice != int(sink.Snapshot().Duplicates) {
		t.Errorf("%d rows are there again, but %d have an id that was there before", twice, sink.Snapshot().Duplicates)
	}
	t.Logf("%d rows, %d duplicates, %d partial, %d missing, %d connections", whole, whole-len(have), sink.Snapshot().Partial, missing, sink.Snapshot().Connections)
}

// TestAStalledSinkHasNothingToLose: rows lie acknowledged in the kernel of an endpoint that reads
// no more, for longer than DEVO_SETTLE, and go down with it. Within DEVO_SETTLE also a slow machine
// sends more than the kernel takes: so the shipper tells a stall.
func TestAStalledSinkHasNothingToLose(t *testing.T) {
	t.Parallel()
	sink, environ := endpoint(t, devosink.Full)
	if err := sink.Inject(devosink.Fault{Kind: devosink.FaultReset, Bytes: 1, Delay: 15 * time.Second, Count: 1}); err != nil {
		t.Fatal(err)
	}
	b := bustest.Start(t)
	const batches, rows = 600, 1
	fillWith(t, b, load{0, batches, rows, long + long})
	r := begin(t, b, nil, append(environ, "SHIPPER_CONNECTIONS=1", "DEVO_SETTLE=5s"))
	poll(t, "the reset", func() bool { return r.value(t, "tapline_shipper_connection_failures_total") > 0 })
	settled(t, b)
	trial{}.compare(t, sink, wanted(batches*rows, long+long))
}

func wanted(n int, text string) (want []string) {
	for i := range n {
		want = append(want, rowWith(i, text))
	}
	return want
}

// TestQuietConnectionsAreEnded before the peer ends them; that is no outage, and nothing arrives
// twice.
func TestQuietConnectionsAreEnded(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(testing.TB, devosink.Mode) (*devosink.Sink, []string){"TLS": endpoint, "relay": relay} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sink, environ := open(t, devosink.Full)
			b := bustest.Start(t)
			r := begin(t, b, nil, append(environ, "DEVO_IDLE=100ms", "DEVO_SETTLE=10ms", "SHIPPER_CONNECTIONS=1"))
			for i := range 3 {
				fill(t, b, 10*i, 1, 10)
				settled(t, b)
				poll(t, "the end of the connection", func() bool { // that has been seen: the kernel confirms before the sink accepts
					snap := sink.Snapshot()
					return snap.Events == int64(10*(i+1)) && snap.Open == 0
				})
				if n := sink.Snapshot().Connections; n != int64(i+1) {
					t.Errorf("%d connections after %d uses", n, i+1)
				}
			}
			if snap := sink.Snapshot(); snap.Events != 30 || snap.Partial != 0 || r.value(t, "tapline_shipper_connection_failures_total") != 0 {
				t.Errorf("%+v", snap)
			}
		})
	}
}

// TestOldConnectionsAreReplaced even if there is always something to carry, and nothing comes
// twice.
func TestOldConnectionsAreReplaced(t *testing.T) {
	t.Parallel()
	sink, environ := endpoint(t, devosink.Index)
	b := bustest.Start(t)
	r := begin(t, b, nil, append(environ, "DEVO_MAX_AGE=200ms", "DEVO_SETTLE=50ms", "SHIPPER_CONNECTIONS=1"))
	n := 0
	poll(t, "several connections", func() bool {
		fill(t, b, n, 1, 10)
		n += 10
		return sink.Snapshot().Connections >= 5
	})
	settled(t, b)
	if snap := sink.Snapshot(); snap.Events != int64(n) || snap.Duplicates != 0 || r.value(t, "tapline_shipper_connection_failures_total") != 0 {
		t.Errorf("%d rows: %+v", n, snap)
	}
}

// TestPlainTCPIsForRelays: sending in the clear must be intended.
func TestPlainTCPIsForRelays(t *testing.T) {
	t.Parallel()
	var all []string
	for _, extra := range [][]string{
		{"DEVO_TLS=false"},
		{"DEVO_TLS=false", "DEVO_ADDRESS=relay:13000", "DEVO_CERT_FILE=x"},
		{"DEVO_TLS=false", "DEVO_ADDRESS=relay:13000", "DEVO_VERIFY_HOSTNAME=false"},
		{"DEVO_TLS=false", "DEVO_ADDRESS=relay:13000", "DEVO_COMPRESS=zlib", "DEVO_DATE_FORMAT=iso", "DEVO_IDLE=0s"},
		{"DEVO_TLS=false", "DEVO_ADDRESS=relay:13000"},
	} {
		all = append(all, problems(extra))
	}
	for i, want := range []string{
		`DEVO_ADDRESS="collector-eu.devo.io:443": DEVO_TLS=false is for a relay`, `DEVO_CERT_FILE="[redacted]": is of no use`,
		`DEVO_VERIFY_HOSTNAME="false": is of no use`, `DEVO_COMPRESS="zlib": want off or gzip`,
	} {
		if !strings.Contains(all[i], want) {
			t.Errorf("%q does not say %q", all[i], want)
		}
	}
	if last := all[len(all)-1]; last != "" {
		t.Error(last)
	}
	if !slices.ContainsFunc(all, func(s string) bool {
		return strings.Contains(s, "DEVO_DATE_FORMAT") && strings.Contains(s, "DEVO_IDLE")
	}) {
		t.Errorf("not everything is told at once: %q", all)
	}
}
