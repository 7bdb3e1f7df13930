//go:build interop

package interop_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/services/shipper"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	rows   = 100_000
	each   = 500
	table  = "mail.proofpoint.tapsiem_v2.clicksblocked"
	pulled = 1773216000123
	header = "<14>2026-03-11 08:00:00.123 collector-1 " + table + ": "
)

// oddities are what receivers are known to alter: escapes, templates, control characters above
// 0x20, bytes with the top bit, line separators that are none, syslog and octet counts within,
// trailing blanks.
var oddities = []string{
	`plain`, `Grüße aus Köln, 日本語, 😀`, "\u007f\u0080\u0085\u009f", "\u2028\u2029\ufeff", `\n\r\t\u0000\\ \"quoted\"`, `%msg% ${MSG} $HOST %%d %s`,
	`<14>Jan  1 00:00:00 host tag: inner`, `17 <14>counted`, `#012 #011 \\x0a`, `'single' ; rm -rf / | & < >`, "trailing blanks   ", "\ufffd\ufffe",
}

// row is the JSON of one row. One of a thousand is long.
func row(i int) string {
	text := oddities[i%len(oddities)]
	switch {
	case i%1000 == 999:
		text = strings.Repeat(text+" ", 4000)
	case i%3 == 0:
		text = strings.Repeat(text+" ", 10)
	}
	return fmt.Sprintf(`{"n":%d,"text":"%s","@tapline_id":"%032x"}`, i, text, i)
}

// backlog fills a bus with all rows.
func backlog(t *testing.T) *bus.Bus {
	t.Helper()
	b := bustest.Start(t)
	for first := 0; first < rows; first += each {
		e := batch.Events{Tenant: "main", Table: table, Feed: "clicksBlocked", SourceSequence: uint64(first + 1)}
		for i := range each {
			e.Events = append(e.Events, batch.Event{PullMS: pulled, JSON: []byte(row(first + i))})
		}
		meta := bus.EventMeta{Tenant: e.Tenant, Table: e.Table, MsgID: fmt.Sprint(first)}
		if _, err := b.PublishEvents(t.Context(), batch.AppendEvents(nil, &e), meta); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// ship runs a shipper until the test ends.
func ship(t *testing.T, b *bus.Bus, r *receiver, extra ...string) {
	t.Helper()
	var c shipper.Config
	environ := append([]string{
		"SINK=devo", "DEVO_ADDRESS=" + r.address, "DEVO_CHAIN_FILE=" + r.certs.Chain, "DEVO_CERT_FILE=" + r.certs.ClientCert,
		"DEVO_KEY_FILE=" + r.certs.ClientKey, "DEVO_HOSTNAME=collector-1",
	}, extra...)
	if err := config.Load(&c, environ); err != nil {
		t.Fatal(err)
	}
	s, err := shipper.New(c, shipper.Deps{
		Bus: b, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Metrics: prometheus.NewRegistry(), Health: telemetry.NewHealth(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// settled reports whether everything is acknowledged.
func settled(t *testing.T, b *bus.Bus) bool {
	t.Helper()
	left, err := b.Backlog(t.Context(), bus.ConsumerShipper)
	if err != nil {
		t.Fatal(err)
	}
	return left.Done == rows/each
}

// account is what a receiver has written.
type account struct {
	missing, twice, torn int
}

// read compares a file with what was sent. What is only the beginning of a row is torn; anything
// else that was not sent is an error.
func read(t *testing.T, path string) account {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := make([]int, rows)
	var a account
	in := bufio.NewReaderSize(f, 1<<20)
	for altered := 0; altered < 3; {
		line, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) && line == "" {
			break
		}
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		for _, part := range pieces(strings.TrimSuffix(line, "\n")) {
			switch n := number(part); {
			case n >= 0 && part == header+row(n):
				seen[n]++
			case strings.HasPrefix(header, part), n >= 0 && strings.HasPrefix(header+row(n), part):
				a.torn++
			default:
				altered++
				t.Errorf("altered: %.300q", part)
			}
		}
	}
	for _, n := range seen {
		if n == 0 {
			a.missing++
		}
		a.twice += max(0, n-1)
	}
	t.Logf("%d rows: %+v", rows, a)
	return a
}

// pieces takes a line apart where a program was killed while it wrote, and its successor continued.
func pieces(line string) (parts []string) {
	for {
		i := strings.Index(line[min(1, len(line)):], header)
		if i < 0 {
			return append(parts, line)
		}
		parts = append(parts, line[:i+1])
		line = line[i+1:]
	}
}

// number is which row a line is, or begins to be; negative if none.
func number(line string) int {
	digits, ok := strings.CutPrefix(line, header+`{"n":`)
	if !ok {
		return -1
	}
	digits, _, _ = strings.Cut(digits, ",")
	n, err := strconv.Atoi(digits)
	if digits == "" { // cut before the number
		return 0
	}
	if err != nil || n >= rows {
		return -1
	}
	return n
}

// TestEveryRowArrivesAsItIs: a hundred thousand rows, each once, not a byte altered.
func TestEveryRowArrivesAsItIs(t *testing.T) {
	for name := range products {
		for proof, extra := range map[string][]string{
			"acked":  nil,
			"rotate": {"DEVO_CONFIRM=rotate", "DEVO_ROTATE_AFTER=300ms"},
		} {
			t.Run(name+"/"+proof, func(t *testing.T) {
				r, b := receive(t, name), backlog(t)
				began := time.Now()
				ship(t, b, r, extra...)
				poll(t, "all confirmations", func() bool { return settled(t, b) })
				t.Logf("confirmed after %s", time.Since(began).Round(time.Millisecond))
				var a account
				poll(t, "the receiver to write", func() bool { return r.size() >= total() })
				if a = read(t, r.out); a != (account{}) {
					t.Errorf("%+v", a)
				}
			})
		}
	}
}

// total is how many bytes all rows are.
var total = sync.OnceValue(func() (n int64) {
	for i := range rows {
		n += int64(len(header) + len(row(i)) + 1)
	}
	return n
})

// TestReceiversComeAndGo: the receiver is killed or restarted again and again while rows flow. Rows
// may come twice, and be cut where a connection was, but none is missing.
func TestReceiversComeAndGo(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"rsyslog": syscall.SIGKILL, "syslog-ng": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			r, b := receive(t, name), backlog(t)
			// A receiver on a busy machine may take long to read what lies in its kernel.
			ship(t, b, r, "DEVO_SETTLE=3s", "SHIPPER_MAX_INFLIGHT_BYTES=8388608")
			const times = 4
			for i := range times {
				mark := total() * int64(i+1) / (times + 1)
				poll(t, "rows", func() bool { return r.size() >= mark })
				r.end(signal)
				r.start(t)
			}
			poll(t, "all confirmations", func() bool { return settled(t, b) })
			r.end(syscall.SIGTERM)
			if a := read(t, r.out); a.missing > 0 {
				t.Errorf("%+v", a)
			}
			r.start(t)
		})
	}
}
