package enricher_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/alloctest"
	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// heapMost is what the live heap may rise to over hostile messages, embedded server included:
// compose gives the enricher 400 MiB.
const heapMost = 150 << 20

// forensics makes a batch of answers about one campaign.
func forensics(records ...string) []byte {
	data := batch.AppendRawHeader(nil, &batch.Raw{
		Tenant: "main", Feed: "campaigns", JobID: "main/campaign-forensics/20260312T080000Z/20260312T090000Z/forensics-1/1/c1", PullID: "1773216000123",
	})
	for i, r := range records {
		data = batch.AppendRecord(data, &batch.Record{ID: uint64(i), Hash: 7, JSON: []byte(r)})
	}
	return data
}

// packed is a batch that claims to hold more than it is.
func packed(inner []byte) []byte { return batch.Pack(nil, inner) }

// TestHostileMessagesHarmNoNeighbor: each of them goes to DEAD once and takes no memory to speak
// of; the good one behind them arrives.
func TestHostileMessagesHarmNoNeighbor(t *testing.T) { //nolint:paralleltest // it measures the process
	server := bustest.Server(t)
	b := bustest.Connect(t, server)
	if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	head := raw("main", "clicksBlocked")
	wide := `{"reports":[{"name":"` + strings.Repeat("x", 900_000) + `","forensics":[` + strings.Repeat("0,", 100_000) + `0]}]}`
	hostile := map[string][]byte{
		"huge":        append([]byte{15<<3 | 2, 6}, 0xff, 0xff, 0xff, 0xff, 0x0f, 0),
		"records":     packed(append(bytes.Clone(head), bytes.Repeat([]byte{7<<3 | 2, 0}, 6<<20)...)),
		"name":        protowire.AppendString(protowire.AppendTag(bytes.Clone(head), 3, protowire.BytesType), strings.Repeat("j", 7<<20)),
		"no text":     protowire.AppendString(protowire.AppendTag(bytes.Clone(head), 2, protowire.BytesType), "\xff\xfe"),
		"quotes":      protowire.AppendString(protowire.AppendTag(bytes.Clone(head), 5, protowire.BytesType), `1","x":"`),
		"time":        protowire.AppendBytes(protowire.AppendTag(bytes.Clone(head), 6, protowire.BytesType), []byte{8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}),
		"just fits":   bytes.Repeat([]byte("poison! "), 1<<20-16),
		"wide report": packed(forensics(wide)),
		"alike":       packed(forensics(`{"reports":[{` + strings.Repeat(`"a":0,`, 90_000) + `"forensics":[1,2]}]}`)),
		"members":     packed(forensics(`{` + strings.Repeat(`"":0,`, 700_000) + `"reports":[]}`)),
		"elements":    packed(forensics(`{"reports":[{"forensics":[` + strings.Repeat(`0,`, 2_000_000) + `0]}]}`)),
	}
	input := 0
	for _, data := range hostile {
		bustest.Publish(t, server, "raw.main.any", data)
		input += len(data)
	}
	publish(t, b, "good", raw("main", "clicksBlocked", `{"id":"good"}`))
	var good []batch.Events
	rise := alloctest.Peak(func() {
		run(t, b, "TAP_FORENSICS=true", "TAP_CAMPAIGN_FORENSICS=true")
		good = events(t, b, 1)
		drained(t, b)
	})
	if got := good[0]; len(got.Events) != 1 || !strings.Contains(string(got.Events[0].JSON), `"good"`) {
		t.Errorf("%.300v", got)
	}
	if rise > heapMost {
		t.Errorf("%d bytes of hostile messages raised the heap by %d MiB, want at most %d", input, rise>>20, heapMost>>20)
	}
	firsts := 0
	for _, l := range dead(t, b) { // the one that just fits is in two pieces
		if l.GetPart() <= 1 {
			firsts++
		}
		if len(l.GetReason()) > 16<<10 {
			t.Errorf("a reason of %d bytes", len(l.GetReason()))
		}
	}
	if firsts != len(hostile) {
		t.Errorf("%d letters for %d messages", firsts, len(hostile))
	}
}

// TestARecordOrdersNoMoreThanItMay: a record that names very many threats costs as many calls as
// the bound says; its row, and the threats of its neighbour, are as ever.
func TestARecordOrdersNoMoreThanItMay(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	var many []string
	for i := range 3000 {
		many = append(many, fmt.Sprintf(`{"threatID":"%064x","campaignID":"%s","threatStatus":"%s"}`, i, strings.Repeat("c!", 200), strings.Repeat("s", 1000)))
	}
	publish(t, b, "job", raw("main", "messagesBlocked", `{"threatsInfoMap":[`+strings.Join(many, ",")+`]}`),
		raw("main", "messagesBlocked", `{"threatsInfoMap":[{"threatID":"neighbour"}]}`))
	run(t, b)
	if got := events(t, b, 2); len(got[0].Events)+len(got[1].Events) != 2 {
		t.Errorf("%d rows, and %d", len(got[0].Events), len(got[1].Events))
	}
	drained(t, b)
	var asked []*taplinev1.Target
	read(t, b, bus.StreamJobs, func(data []byte) {
		var j taplinev1.Job
		if err := proto.Unmarshal(data, &j); err != nil {
			t.Fatal(err)
		}
		asked = append(asked, j.GetTargets()...)
	})
	neighbour := false
	for _, target := range asked {
		neighbour = neighbour || target.GetId() == "neighbour"
		if len(target.GetStatus()) > 64 || len(target.GetCampaign()) > 128 {
			t.Errorf("status of %d bytes, campaign of %d", len(target.GetStatus()), len(target.GetCampaign()))
		}
	}
	if len(asked) != 257 || !neighbour {
		t.Errorf("%d ids are asked for, the neighbour's: %v", len(asked), neighbour)
	}
	reasons := ""
	for _, l := range dead(t, b) {
		reasons += l.GetReason() + "\n"
	}
	if !strings.Contains(reasons, "more than 256 threats") || !strings.Contains(reasons, "is no id that can be asked for") {
		t.Errorf("DEAD has: %s", reasons)
	}
}

// TestALargeBatchOrdersAllItNames: names that take more than a MiB are ordered. Of those that no
// message can have, one dead letter says that the others are not asked for.
func TestALargeBatchOrdersAllItNames(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ records, least, most, letters int }{
		"more than a MiB":              {records: 16, least: 16 * 256, most: 16 * 256},
		"more than a message may have": {records: 100, least: 20_000, most: 25_000, letters: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := bustest.Start(t)
			var records []string
			for i := range c.records {
				var threats []string
				for j := range 256 {
					threats = append(threats, fmt.Sprintf(`{"threatID":"%0128x","campaignID":"%s","threatStatus":"%s"}`,
						i<<8|j, strings.Repeat("c", 128), strings.Repeat("s", 64)))
				}
				records = append(records, `{"threatsInfoMap":[`+strings.Join(threats, ",")+`]}`)
			}
			publish(t, b, "job", packed(raw("main", "messagesBlocked", records...)))
			run(t, b)
			drained(t, b)
			asked := 0
			read(t, b, bus.StreamJobs, func(data []byte) {
				var j taplinev1.Job
				if err := proto.Unmarshal(data, &j); err != nil {
					t.Fatal(err)
				}
				if j.GetCall() == "threat" {
					asked += len(j.GetTargets())
				}
			})
			if asked < c.least || asked > c.most {
				t.Errorf("%d ids are asked for, want %d to %d", asked, c.least, c.most)
			}
			letters := dead(t, b)
			if len(letters) != c.letters || c.letters > 0 && !strings.Contains(letters[0].GetReason(), "the others are not asked for") {
				t.Errorf("DEAD has: %.500v", letters)
			}
		})
	}
}

// drained waits until the enricher has nothing left to do.
func drained(t *testing.T, b *bus.Bus) {
	t.Helper()
	for _, c := range []bus.Consumer{bus.ConsumerEnricher, bus.ConsumerExpander} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			left, err := b.Backlog(ctx, c)
			if err != nil {
				t.Fatal(err)
			}
			if left.Waiting == 0 && left.InWork == 0 {
				break
			}
			<-tick.C
		}
	}
}

// read visits what a stream has.
func read(t *testing.T, b *bus.Bus, stream string, visit func(data []byte)) {
	t.Helper()
	usage, err := b.Usage(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	for at := usage.First; usage.Messages > 0 && at <= usage.Last; at++ {
		m, err := b.Message(t.Context(), stream, at)
		if err != nil {
			t.Fatal(err)
		}
		visit(m.Data)
	}
}

// dead is what is in DEAD.
func dead(t *testing.T, b *bus.Bus) (all []*taplinev1.DeadLetter) {
	t.Helper()
	read(t, b, bus.StreamDead, func(data []byte) {
		l := &taplinev1.DeadLetter{}
		if err := proto.Unmarshal(data, l); err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	})
	return all
}
