//go:build compose

package compose_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/attack"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/tapsim"
)

// answer is a fault of the stand-in for Proofpoint.
type answer struct {
	Kind    tapsim.FaultKind `json:"kind"`
	Size    int              `json:"size,omitempty"`
	Delay   string           `json:"delay,omitempty"`
	Instant time.Time        `json:"instant"`
	Path    string           `json:"path"`
	Count   int              `json:"count"`
}

// answers are what a hostile Proofpoint says about an hour each, once.
func answers() []answer {
	return []answer{
		{Kind: tapsim.FaultEndless},
		{Kind: tapsim.FaultBomb},
		{Kind: tapsim.FaultTrickle, Delay: "20ms"},
		{Kind: tapsim.FaultHeaders},
		{Kind: tapsim.FaultRedirect},
		{Kind: tapsim.FaultBrackets},
		{Kind: tapsim.FaultBrackets, Size: 5 << 20},
		{Kind: tapsim.FaultNonObjects},
		{Kind: tapsim.FaultHours},
		{Kind: tapsim.FaultRecords},
		{Kind: tapsim.FaultRecords, Size: 60_000},
		{Kind: tapsim.FaultMembers},
		{Kind: tapsim.FaultMembers, Size: 3_000_000},
	}
}

// messages are what hostile stages put on the bus: a few bytes that unfold to gigabytes, and what
// is as large as the server takes.
func messages() (all []attack.Message) {
	huge := append([]byte{15<<3 | 2, 6}, 0xff, 0xff, 0xff, 0xff, 0x0f, 0) // claims 4 GiB
	parts := bytes.Repeat([]byte{7<<3 | 2, 0}, 3<<20)
	poison := bytes.Repeat([]byte("poison! "), 1<<20-16)
	records := func(head []byte) []byte {
		return batch.Pack(nil, append(head, bytes.Repeat([]byte{7<<3 | 2, 0}, 6<<20)...))
	}
	word := func(head []byte) []byte {
		return protowire.AppendString(protowire.AppendTag(head, 3, protowire.BytesType), strings.Repeat("j", 7<<20))
	}
	report := func(text string) []byte {
		const job = "main/campaign-forensics/20260312T080000Z/20260312T090000Z/forensics-1/1/c1"
		head := batch.AppendRawHeader(nil, &batch.Raw{Tenant: "main", Feed: "campaigns", JobID: job, PullID: "1773216000123"})
		return batch.Pack(nil, batch.AppendRecord(head, &batch.Record{ID: 1, Hash: 7, JSON: []byte(text)}))
	}
	raw := func() []byte { return batch.AppendRawHeader(nil, &batch.Raw{Tenant: "main", Feed: "clicksBlocked"}) }
	rows := func() []byte {
		return batch.AppendEventsHeader(nil, &batch.Events{Tenant: "main", Table: "mail.proofpoint.tapsiem_v2.clicksblocked"})
	}
	for subject, list := range map[string][][]byte{
		"raw.main.any": {
			huge, records(raw()), word(raw()), poison,
			report(`{"reports":[{"name":"` + strings.Repeat("x", 900_000) + `","forensics":[` + strings.Repeat("0,", 100_000) + `0]}]}`),
			report(`{` + strings.Repeat(`"":0,`, 700_000) + `"reports":[]}`),
			report(`{"reports":[{"forensics":[` + strings.Repeat(`0,`, 2_000_000) + `0]}]}`),
		},
		"event.main.any":    {huge, records(rows()), batch.Pack(nil, bytes.Repeat([]byte{0x7a, 0}, 8<<20)), word(rows()), poison, {}},
		"mark.main.hostile": {parts},
		"dead.main.s.f":     {parts[:4<<20], huge}, // DEAD takes 5 MiB
	} {
		for _, data := range list {
			all = append(all, attack.Message{Subject: subject, Data: data})
		}
	}
	for _, lane := range []string{"live", "backfill"} {
		all = append(all, attack.Message{Subject: "job.main." + lane + ".x.y", Data: bytes.Repeat([]byte{10<<3 | 2, 0}, 3<<20)})
	}
	return all
}

// TestHostile: with the limits of memory that docker-compose.yml ships, no program ends over any
// hostile answer or message, and every record arrives beside them.
func TestHostile(t *testing.T) {
	t.Parallel()
	const settings = "hostile.env"
	s := newStack(t, "tapline-test-hostile", nil, "TAPLINE_ENV="+settings)
	demo, err := os.ReadFile(filepath.Join(s.dir, "deploy/demo.env"))
	if err != nil {
		t.Fatal(err)
	}
	first := time.Now().UTC().Truncate(time.Hour).Add(-15 * time.Hour)
	faults := answers()
	for i := range faults {
		faults[i].Instant, faults[i].Path, faults[i].Count = first.Add(time.Duration(i)*time.Hour+20*time.Minute), feed.SIEMAll.Path, 1
	}
	list, err := json.Marshal(faults)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(s.dir, settings), fmt.Sprintf(
		"%s\nTAPSIM_AGE=16h\nTAPSIM_RATE=0.2\nTAP_START_TIME=%s\nTAP_IDLE_TIMEOUT=2s\nTAPSIM_FAULTS=%s\n", demo, first.Format(time.RFC3339), list))
	s.up()
	address := strings.Fields(docker(t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", s.containers("nats")[0]))[0]
	system := func(user string) bus.Config { return s.user(address, user) }
	if err := attack.Send(t.Context(), system, messages()); err != nil {
		t.Fatal(err)
	}
	a := newAccount(s)
	a.until = first.Add(time.Minute) // what was made before is not asked for
	poll(t, "each hostile answer to be given", func() bool {
		var left []answer
		decode(t, s.ask("tapsim", "8081/_sim/faults"), &left)
		return len(left) == 0
	})
	a.settle("beside hostile answers and messages")
	letters, err := s.tapctl("dead", "ls")
	for _, source := range []string{"enricher", "shipper", "job cannot be run", "from RAW/", "from EVENTS/"} {
		if !strings.Contains(letters, source) {
			t.Errorf("DEAD has nothing of %s: %v: %.2000s", source, err, letters)
		}
	}
	for _, service := range services {
		s.sound(service)
	}
}

// user is how one of the users of the demonstration reaches a server.
func (s *stack) user(address, name string) bus.Config {
	s.t.Helper()
	password, err := os.ReadFile(filepath.Join(s.dir, "deploy/demo/secrets/nats", name))
	if err != nil {
		s.t.Fatal(err)
	}
	return bus.Config{URL: "nats://" + address + ":4222", User: name, Password: config.Secret(strings.TrimSpace(string(password)))}
}

// sound expects that the only container of a service has a limit of memory and has run all the
// time, and tells what it took at most.
func (s *stack) sound(service string) {
	s.t.Helper()
	fields := strings.Fields(docker(s.t, "inspect", "-f", "{{.HostConfig.Memory}} {{.RestartCount}} {{.State.OOMKilled}} {{.State.Running}} {{.State.Pid}}", s.containers(service)[0]))
	if fields[0] == "0" || strings.Join(fields[1:4], " ") != "0 false true" {
		s.t.Errorf("%s: limit %s, %s restarts, out of memory %s, running %s", service, fields[0], fields[1], fields[2], fields[3])
	}
	limit, _ := strconv.ParseInt(fields[0], 10, 64)
	status, _ := os.ReadFile("/proc/" + fields[4] + "/status") // of another machine it is not there
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	peak, _, _ = strings.Cut(peak, "\n")
	s.t.Logf("%s: at most %s of %d MiB", service, strings.TrimSpace(peak), limit>>20)
}
