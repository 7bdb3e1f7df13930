package tapctl_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/devosink/devocert"
	"github.com/tapline/tapline/services/tapctl"
)

// hostile would clear a terminal, name its window, turn text around, and forge a line and a column.
const hostile = "evil\x1b[2J\x1b]0;owned\a\u009b31m\u202egpj.exe\r\nALARMS: 0\t\x7f\xff"

// onlyPrints fails if something in the text acts on a terminal, or looks like a line of its own.
func onlyPrints(t *testing.T, what, text string) {
	t.Helper()
	acts := func(r rune) bool {
		return (unicode.IsControl(r) && r != '\n' && r != '\t') || r == '\u202e' || r == unicode.ReplacementChar
	}
	if i := strings.IndexFunc(text, acts); i >= 0 || strings.Contains(text, "\nALARMS: 0\t") {
		t.Errorf("%s: at %d of %q", what, i, text)
	}
}

// TestForeignTextActsOnNoTerminal: whatever stands on the bus, every command that shows it only prints.
func TestForeignTextActsOnNoTerminal(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.must("setup")
	b := bustest.Connect(t, c.Server)
	letter := &taplinev1.DeadLetter{Tenant: "main", Stage: "enricher", Feed: "clicksBlocked", Reason: hostile, Payload: []byte(hostile), Source: strings.ToValidUTF8(hostile, "")}
	if err := b.PublishDead(t.Context(), letter, "a"); err != nil {
		t.Fatal(err)
	}
	state, err := b.Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	now, text := timestamppb.Now(), strings.ToValidUTF8(hostile, "") // protobuf takes nothing else
	for key, m := range map[string]proto.Message{
		alarm.Key("main", alarm.Refused, "fetcher"): &taplinev1.Alarm{Name: text, Stage: text, Detail: text, Since: now, Until: timestamppb.New(now.AsTime().Add(time.Hour))},
		"heartbeat.main.fetcher.x":                  &taplinev1.Heartbeat{Stage: "fetcher", Instance: text, Version: text, StartedAt: now, At: now, Troubles: map[string]string{text: text}},
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := state.Put(t.Context(), key, data); err != nil {
			t.Fatal(err)
		}
	}
	shown := 0
	for _, args := range [][]string{
		{"status"}, {"gaps"}, {"ledger"}, {"verify"}, {"quota"}, {"dead"}, {"dead", "ls"}, {"dead", "show", "1"}, {"show", "DEAD", "1"}, {"dead", "retry", "1"},
		{"trace", hostile}, {"trace", "abc"}, {"replay", "ls"}, {"replay", "status", hostile}, {"show", hostile, "1"}, {"quota", "open", hostile}, {hostile}, {"--" + hostile},
		{"flatten", hostile}, {"migrate", "devo", hostile}, {"backup", hostile + "/\x00"}, {"restore", hostile}, {"retry", hostile},
	} {
		for _, format := range []string{"text", "json"} {
			_, out, stderr := c.run(append(args, "--output", format)...)
			onlyPrints(t, strings.Join(args, " "), out)
			onlyPrints(t, strings.Join(args, " "), stderr)
			shown += strings.Count(out+stderr, "evil")
			if format == "json" && strings.HasPrefix(out, "{") && !json.Valid([]byte(out)) {
				t.Errorf("%q is no JSON: %s", args, out)
			}
		}
	}
	if shown < 20 {
		t.Errorf("the text stands in %d places only", shown)
	}
}

// TestCertificateActsOnNoTerminal: the names in a peer's certificate are shown by check.
func TestCertificateActsOnNoTerminal(t *testing.T) {
	t.Parallel()
	set, err := devocert.New(devocert.Options{Names: []string{"evil\x1b[2J\x1b]0;owned\a"}})
	if err != nil {
		t.Fatal(err)
	}
	files, err := set.Write(filepath.Join(t.TempDir(), "certs"))
	if err != nil {
		t.Fatal(err)
	}
	server, err := set.Server()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", server) //nolint:noctx // until the test ends
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if secure, ok := conn.(*tls.Conn); ok {
				_ = secure.HandshakeContext(t.Context()) // the client refuses it
			}
			_ = conn.Close()
		}
	}()
	defer func() {
		_ = listener.Close()
		<-ended
	}()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var out, stderr bytes.Buffer
	tapctl.Execute(t.Context(), tapctl.Process{Args: []string{"check"}, Stdout: &out, Stderr: &stderr, Environ: []string{
		"NATS_URL=nats://127.0.0.1:9", "DEVO_ADDRESS=127.0.0.1:" + port, "DEVO_SERVER_NAME=devo.example.com",
		"DEVO_CHAIN_FILE=" + files.Chain, "DEVO_CERT_FILE=" + files.ClientCert, "DEVO_KEY_FILE=" + files.ClientKey,
	}})
	onlyPrints(t, "check", out.String()+stderr.String())
	if !strings.Contains(out.String(), "evil") {
		t.Errorf("check says %s%s", &out, &stderr)
	}
}

// TestRowsGoToFilesAsTheyAre: flatten escapes for a terminal only.
func TestRowsGoToFilesAsTheyAre(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "answer.json")
	row := `{"subject":"a\u202eb` + "\u202e\u009b" + `","n":` + strconv.Itoa(1) + `}`
	if err := os.WriteFile(name, []byte(row), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, stderr bytes.Buffer
	if code := tapctl.Execute(t.Context(), tapctl.Process{Args: []string{"flatten", name}, Stdout: &out, Stderr: &stderr}); code != 0 || out.String() != row+"\n" {
		t.Errorf("status %d: %q %q", code, &out, &stderr)
	}
}
