package enricher_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/replay"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

const siemJob = "main/all/20260311T080000Z/20260311T090000Z/live/0"

// faulty is an enricher's bus that can be let fail.
func faulty(t *testing.T) (b, direct *bus.Bus, faults *bustest.Faults) {
	t.Helper()
	b, faults = bustest.StartFaulty(t)
	return b, bustest.Connect(t, faults.Server), faults
}

// done consumers have acknowledged the n-th batch that was published, and those before. (A marker
// follows each.)
func done(n int) func(bus.Backlog) bool {
	return func(left bus.Backlog) bool { return left.Done >= uint64(2*n-1) }
}

// clicks is a batch of a live job.
func clicks(t *testing.T, records ...string) []byte {
	t.Helper()
	return answer(t, about{siemJob, feed.ClicksBlocked, nil, ""}, records...)
}

// named is what the expansion of the batches of the live job came to.
func named(t *testing.T, b *bus.Bus) *taplinev1.LookupRecord {
	t.Helper()
	bucket, err := b.Bucket(t.Context(), bus.BucketLedger)
	if err != nil {
		t.Fatal(err)
	}
	day := time.Date(2026, 3, 11, 0, 0, 0, 0, time.UTC)
	report, err := ledger.New(bucket).Load(t.Context(), "main", day, day.Add(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return report.Lookups()
}

// TestRowsThatAreNotStoredAreMadeAgain: whatever refuses them, and whether it stored them or not,
// the batch is given back and not acknowledged, and its rows are in EVENTS once, with one account.
func TestRowsThatAreNotStoredAreMadeAgain(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]bustest.Fault{"before": {}, "after": {After: true}} {
		for _, call := range []struct {
			name string
			call bustest.Call
		}{{"rows", bustest.Store(bus.StreamEvents)}, {"letter", bustest.Store(bus.StreamDead)}, {"account", bustest.Write(bus.BucketLedger)}} {
			t.Run(call.name+" "+name, func(t *testing.T) {
				t.Parallel()
				b, direct, faults := faulty(t)
				naks := faults.At(bustest.Naks(bus.ConsumerEnricher), func() {})
				faults.Fail(call.call, fault)
				publish(t, direct, siemJob, clicks(t, `{"id":"1"}`, `no object`))
				run(t, b, "TAP_FEEDS=clicksBlocked")
				if got := events(t, direct, 1)[0]; len(got.Events) != 1 {
					t.Errorf("%d rows", len(got.Events))
				}
				deadLetters(t, direct, 1)
				if note := made(t, direct, 1)[0]; note.GetEvents() != 1 || note.GetDead() != 1 || note.GetEventSequence() != 1 {
					t.Errorf("the account: %v", note)
				}
				arrives(t, direct, bus.ConsumerEnricher, done(1))
				if naks.Met() != 1 {
					t.Errorf("given back %d times", naks.Met())
				}
				for _, stream := range []string{bus.StreamEvents, bus.StreamDead} {
					if n := len(bustest.Messages(t, faults.Server, stream)); n != 1 {
						t.Errorf("%s has %d messages", stream, n)
					}
				}
			})
		}
	}
}

// TestAFullStreamIsNoSuccess: while EVENTS takes nothing a batch is given back; nothing is
// acknowledged, and nothing is in the account.
func TestAFullStreamIsNoSuccess(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{
		"records": clicks(t, `{"id":"1"}`), "an answer": answer(t, about{threatJob, feed.Threats, &taplinev1.Target{Id: "t1"}, ""}, `{"id":"t1"}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, direct, faults := faulty(t)
			bustest.Fill(t, faults.Server, bus.StreamEvents)
			naks, acks := faults.At(bustest.Naks(bus.ConsumerEnricher), func() {}), faults.At(bustest.Acks(bus.ConsumerEnricher), func() {})
			notes := faults.At(bustest.Write(bus.BucketLedger), func() {})
			job := siemJob
			if name != "records" {
				job = threatJob
			}
			publish(t, direct, job, data)
			run(t, b, "TAP_FEEDS=clicksBlocked")
			naks.Await(t, 1)
			if acks.Met() != 0 || notes.Met() != 0 {
				t.Errorf("%d acknowledgements, %d notes", acks.Met(), notes.Met())
			}
		})
	}
}

// TestAcknowledgedLast: when a batch is acknowledged its rows are in EVENTS and its account is in
// LEDGER, and when its names are acknowledged the jobs are in JOBS.
func TestAcknowledgedLast(t *testing.T) {
	t.Parallel()
	b, direct, faults := faulty(t)
	has := func(stream string) int { return len(bustest.Messages(t, faults.Server, stream)) }
	rows := faults.At(bustest.Acks(bus.ConsumerEnricher), func() {
		if has(bus.StreamEvents) != 1 {
			t.Error("acknowledged before its rows are stored")
		}
		made(t, direct, 1)
	})
	names := faults.At(bustest.Acks(bus.ConsumerExpander), func() {
		if has(bus.StreamJobs) != 1 || named(t, direct).GetOrdered() != 1 {
			t.Error("acknowledged before its names are ordered and noted")
		}
	})
	publish(t, direct, siemJob, clicks(t, `{"id":"1","threatID":"t1","threatStatus":"active"}`))
	run(t, b)
	rows.Await(t, 1)
	names.Await(t, 1)
}

// TestRowsOfManyMessages: of an answer that makes many messages any may be refused; all rows are
// there in the end, each once.
func TestRowsOfManyMessages(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		call  bustest.Call
		fault bustest.Fault
	}{
		"rows":          {bustest.Store(bus.StreamEvents), bustest.Fault{Skip: 1}},
		"first rows":    {bustest.Store(bus.StreamEvents), bustest.Fault{}},
		"a dead letter": {bustest.Store(bus.StreamDead), bustest.Fault{After: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rowsOfManyMessages(t, c.call, c.fault)
		})
	}
}

func rowsOfManyMessages(t *testing.T, call bustest.Call, fault bustest.Fault) {
	t.Helper()
	b, direct, faults := faulty(t)
	var evidence []string
	for i := range 1203 {
		evidence = append(evidence, fmt.Sprintf(`{"type":"url","what":{"n":%d}}`, i))
	}
	evidence[700] = `{"type":"url","what":"` + strings.Repeat("x", 3000) + `"}` // larger than a row may be
	report := `{"generated":"x","reports":[{"id":"c1","forensics":[` + strings.Join(evidence, ",") + `]}]}`
	met := faults.Fail(call, fault)
	publish(t, direct, reportJob, answer(t, about{reportJob, feed.Campaigns, &taplinev1.Target{Id: "c1"}, ""}, report))
	run(t, b, "FLATTEN_MAX_ROW=2048", "TAP_FORENSICS=true")
	rows := make(map[string]int)
	for _, message := range events(t, direct, 3) {
		for _, e := range message.Events {
			rows[string(e.ID)]++
		}
	}
	if len(rows) != 1202 {
		t.Errorf("%d different rows", len(rows))
	}
	var dead, made1 int64
	for _, note := range made(t, direct, 3) {
		dead, made1 = dead+note.GetDead(), made1+note.GetEvents()
	}
	if dead != 1 || made1 != 1202 {
		t.Errorf("%d rows and %d dead in the account", made1, dead)
	}
	if n := len(bustest.Messages(t, faults.Server, bus.StreamEvents)); n != 3 {
		t.Errorf("EVENTS has %d messages", n)
	}
	if n := len(bustest.Messages(t, faults.Server, bus.StreamDead)); n != 1 || met.Met() != 1 {
		t.Errorf("DEAD has %d messages, %d calls failed", n, met.Met())
	}
}

// TestWhatCannotBeOrderedIsOrderedAgain: whichever call of an expansion fails, and whether it had
// its effect, each thing is ordered once in the end.
func TestWhatCannotBeOrderedIsOrderedAgain(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]bustest.Fault{"before": {}, "after": {After: true}} {
		for _, call := range []struct {
			name string
			call bustest.Call
		}{
			{"jobs", bustest.Store(bus.StreamJobs)},
			{"letters", bustest.Store(bus.StreamDead)},
			{"account", bustest.Write(bus.BucketLedger)},
			{"look", bustest.Read(bus.BucketKnown)},
			{"memory", bustest.Write(bus.BucketKnown)},
		} {
			if fault.After && call.name == "look" {
				continue
			}
			t.Run(call.name+" "+name, func(t *testing.T) {
				t.Parallel()
				b, direct, faults := faulty(t)
				publish(t, direct, siemJob, clicks(t, `{"id":"1","threatID":"t1","threatStatus":"active","campaignId":"c1"}`, `{"id":"2","threatID":"no id"}`))
				naks := faults.At(bustest.Naks(bus.ConsumerExpander), func() {})
				publishes := faults.Fail(call.call, fault)
				run(t, b)
				got := make(map[string]int)
				for _, j := range orders(t, direct, 2) {
					for _, target := range j.GetTargets() {
						got[j.GetCall()+" "+target.GetId()]++
					}
				}
				if want := map[string]int{"threat t1": 1, "campaign c1": 1}; fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("ordered %v, want %v", got, want)
				}
				if dead := deadLetters(t, direct, 1); !strings.Contains(dead[0], `"no id" is no id that can be asked for`) {
					t.Errorf("letter: %v", dead)
				}
				arrives(t, direct, bus.ConsumerExpander, done(1))
				if call.name != "account" && naks.Met() != 1 || publishes.Met() != 1 { // the account may be the rows'
					t.Errorf("given back %d times after %d failures", naks.Met(), publishes.Met())
				}
				if n := len(bustest.Messages(t, faults.Server, bus.StreamJobs)); n != 2 {
					t.Errorf("JOBS has %d messages", n)
				}
				if w := named(t, direct); w.GetNamed() != 3 || w.GetOrdered() != 2 {
					t.Errorf("the account: %v", w)
				}
			})
		}
	}
}

// TestOneLetterForOneID, whatever batches name it, in whatever way, in the life of any process.
func TestOneLetterForOneID(t *testing.T) {
	t.Parallel()
	b, direct, faults := faulty(t)
	for i := range 3 {
		for j := range 4 {
			publish(t, direct, fmt.Sprintf("main/all/20260311T080000Z/20260311T090000Z/live/%d", 10*i+j),
				clicks(t, fmt.Sprintf(`{"id":"1","threatID":"a b","threatStatus":"%d"}`, j), `{"id":"2","threatID":"c/d","campaignId":"e f"}`))
		}
		t.Run(fmt.Sprint("process ", i), func(t *testing.T) { // ends with it
			run(t, b, "TAP_FORENSICS=true", "TAP_CAMPAIGN_FORENSICS=false")
			arrives(t, direct, bus.ConsumerExpander, done(4*(i+1)))
		})
	}
	reasons := make(map[string]int)
	for _, reason := range deadLetters(t, direct, 3) {
		_, reason, _ = strings.Cut(reason, ": ")
		reasons[reason]++
	}
	if len(bustest.Messages(t, faults.Server, bus.StreamDead)) != 3 || len(reasons) != 3 || reasons[`"a b" is no id that can be asked for`] != 1 {
		t.Errorf("letters: %v", reasons)
	}
	if w := named(t, direct); w.GetDead() != 3 || w.GetNamed() != w.GetKnown()+w.GetOrdered()+w.GetDead() {
		t.Errorf("the account: %v", w)
	}
}

// TestPeopleAreLearntInTheEnd: a list of those attacked most is acknowledged when it is recorded,
// and a failure to read the records orders nothing by a wrong level.
func TestPeopleAreLearntInTheEnd(t *testing.T) {
	t.Parallel()
	b, direct, faults := faulty(t)
	faults.Fail(bustest.Write(bus.BucketKnown), bustest.Fault{})
	list := batch.AppendRawHeader(nil, &batch.Raw{Tenant: "main", Feed: string(feed.PeopleVAP), JobID: vapJob, PullID: "1773216000123", FetchedAt: time.Now()})
	list = batch.AppendRecord(list, &batch.Record{ID: 1, Hash: 7, JSON: []byte(`{"identity":{"guid":"g","emails":["A@corp.example"]},"threatStatistics":{"attackIndex":9}}`)})
	publish(t, direct, vapJob, list)
	run(t, b, "TAP_FORENSICS=true")
	arrives(t, direct, bus.ConsumerExpander, done(1))
	naks := faults.At(bustest.Naks(bus.ConsumerExpander), func() {})
	faults.Fail(bustest.Read(bus.BucketKnown), bustest.Fault{})
	publish(t, direct, siemJob, answer(t, about{siemJob, feed.MessagesDelivered, nil, ""}, `{"id":"1","recipient":["a@corp.example"],"threatsInfoMap":[{"threatID":"t1"}]}`))
	first := bus.ForensicsConsumers(feed.CallThreatForensics)[0]
	arrives(t, direct, first, func(left bus.Backlog) bool { return left.Waiting == 1 })
	if naks.Met() != 1 {
		t.Errorf("given back %d times", naks.Met())
	}
}

// TestAnOrderSurvivesRefusals: reprocessed rows are all there, once, though EVENTS refused some of
// them.
func TestAnOrderSurvivesRefusals(t *testing.T) {
	t.Parallel()
	b, direct, faults := faulty(t)
	for i := range 3 {
		publish(t, direct, fmt.Sprintf("main/all/20260311T080000Z/20260311T090000Z/live/%d", i), clicks(t, `{"id":"1"}`))
	}
	run(t, b, "TAP_FEEDS=clicksBlocked", "ENRICHER_WORKERS=1")
	events(t, direct, 3)
	for _, fault := range []bustest.Fault{{Skip: 1}, {After: true}} {
		faults.Fail(bustest.Store(bus.StreamEvents), fault)
		r := reprocess(t, direct, &taplinev1.ReplayOrder{})
		if p := r.GetProgress(); replay.StateName(r) != "done" || p.GetRows() != 3 || p.GetDead() != 0 {
			t.Errorf("%v", r)
		}
		if rows := byID(t, events(t, direct, 3), r.GetOrder().GetId()); len(rows) != 1 {
			t.Errorf("%v", rows)
		}
	}
	if n := len(bustest.Messages(t, faults.Server, bus.StreamEvents)); n != 9 {
		t.Errorf("EVENTS has %d messages", n)
	}
}
