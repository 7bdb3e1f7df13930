package enricher_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/ledger"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

const (
	threatJob    = "main/threat/20260311T080000Z/20260311T090000Z/expand/7"
	campaignJob  = "main/campaign/20260311T080000Z/20260311T090000Z/expand/7"
	reportJob    = "main/campaign-forensics/20260311T080000Z/20260311T090000Z/forensics-1/7/c1"
	vapJob       = "main/vap/20260311T000000Z/20260311T090000Z/list/1/14"
	campaignsJob = "main/campaign-ids/20260311T000000Z/20260311T090000Z/list/1"
)

// about says what an answer belongs to.
type about struct {
	job      string
	feed     feed.Feed
	target   *taplinev1.Target
	envelope string
}

// answer makes a RAW batch of a job.
func answer(t *testing.T, a about, records ...string) []byte {
	t.Helper()
	data := batch.AppendRawHeader(nil, &batch.Raw{Tenant: "main", Feed: string(a.feed), JobID: a.job, PullID: "1773216000123", FetchedAt: time.UnixMilli(1773216000123)})
	var target []byte
	if a.target != nil {
		var err error
		if target, err = proto.Marshal(a.target); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range records {
		data = batch.AppendRecord(data, &batch.Record{ID: uint64(i), Hash: 7, JSON: []byte(r), Target: target})
	}
	return batch.AppendEnvelope(data, []byte(a.envelope))
}

// made waits for the account of the batch that is first in RAW.
func made(t *testing.T, b *bus.Bus, n int) []*taplinev1.BatchRecord {
	t.Helper()
	bucket, err := b.Bucket(t.Context(), bus.BucketLedger)
	if err != nil {
		t.Fatal(err)
	}
	day := time.Date(2026, 3, 11, 0, 0, 0, 0, time.UTC)
	var notes []*taplinev1.BatchRecord
	for range 2000 {
		report, err := ledger.New(bucket).Load(t.Context(), "main", day, day.Add(24*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if notes, _ = report.Batch(1); len(notes) == n {
			return notes
		}
		<-time.After(5 * time.Millisecond)
	}
	t.Fatalf("%d notes, want %d: %v", len(notes), n, notes)
	return nil
}

func TestThreatsSayTheirCampaign(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	publish(t, b, threatJob, answer(t, about{threatJob, feed.Threats, &taplinev1.Target{Id: "t1", Campaign: "c1"}, ""}, `{"id":"t1","severity":1.0}`))
	run(t, b)
	got := events(t, b, 1)[0]
	const want = `{"id":"t1","severity":1.0,"@tapline_generation":1,"@tapline_campaign_id":"c1","@devo_pulling_id":"1773216000123","@tapline_id":"00000000000000000000000000000007"}`
	if got.Table != feed.Threats.Table() || len(got.Events) != 1 || string(got.Events[0].JSON) != want {
		t.Errorf("%s: %s", got.Table, got.Events[0].JSON)
	}
}

func TestPeopleHaveTheFiguresOfTheirList(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	publish(t, b, vapJob, answer(t, about{vapJob, feed.PeopleVAP, nil, `{"totalVapUsers":2,"averageAttackIndex":412.6183}`},
		`{"identity":{"guid":"g1"}}`, `{"identity":{"guid":"g2"},"totalVapUsers":"theirs"}`))
	run(t, b)
	got := events(t, b, 1)[0]
	for i, want := range []string{
		`{"list":"vap","window":14,"totalVapUsers":2,"averageAttackIndex":412.6183,"identity":{"guid":"g1"},"@tapline_generation":1,`,
		`{"list":"vap","window":14,"response_totalVapUsers":2,"averageAttackIndex":412.6183,"identity":{"guid":"g2"},"totalVapUsers":"theirs",`,
	} {
		if !strings.HasPrefix(string(got.Events[i].JSON), want) {
			t.Errorf("row %d: %s", i, got.Events[i].JSON)
		}
	}
}

// TestAReportOfThousandsOfRows: the rows go into several messages, the same ones for every run,
// with one account.
func TestAReportOfThousandsOfRows(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	var evidence []string
	for i := range 1203 {
		evidence = append(evidence, fmt.Sprintf(`{"type":"url","what":{"n":%d}}`, i))
	}
	evidence[5] = `{"type":"url","what":"` + strings.Repeat("x", 3000) + `"}` // larger than a row may be
	report := `{"generated":"2026-03-11T12:30:44.917Z","reports":[{"scope":"CAMPAIGN","id":"c1","forensics":[` + strings.Join(evidence, ",") + `]}]}`
	publish(t, b, reportJob, answer(t, about{reportJob, feed.Campaigns, &taplinev1.Target{Id: "c1"}, ""}, report))
	run(t, b, "FLATTEN_MAX_ROW=2048", "TAP_FORENSICS=true", "TAP_CAMPAIGN_FORENSICS=true")
	seen := make(map[string]int)
	for _, message := range events(t, b, 6) { // three for each table
		for _, e := range message.Events {
			var row struct {
				Index int `json:"forensics_id"`
				Found int `json:"forensics_found"`
			}
			if err := json.Unmarshal(e.JSON, &row); err != nil || row.Found != 1203 {
				t.Fatalf("%v: %s", err, e.JSON)
			}
			seen[message.Table+string(e.ID)]++
		}
	}
	if len(seen) != 2*1202 {
		t.Errorf("%d different rows", len(seen))
	}
	var rows, extra, dead int64
	for _, note := range made(t, b, 6) {
		if note.GetTable() == feed.Campaigns.Table() {
			rows, extra = rows+note.GetEvents(), extra+note.GetExtra()
		}
		dead += note.GetDead()
	}
	if rows != 1202 || dead != 1 || rows-extra+dead != 1 {
		t.Errorf("one record became %d rows, %d extra, %d dead", rows, extra, dead)
	}
	deadLetters(t, b, 1)
}

func TestNestedOnRequest(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	const report = `{"generated":"x","reports":[{"id":"c1","forensics":[{"a":1},{"b":2}]}]}`
	const detail = `{"id":"c1","campaignMembers":[{"id":"t1"},{"id":"t2"}],"name":"n"}`
	publish(t, b, reportJob, answer(t, about{reportJob, feed.Campaigns, nil, ""}, report))
	publish(t, b, campaignJob, answer(t, about{campaignJob, feed.Campaigns, nil, ""}, detail))
	run(t, b, "FLATTEN=off", "FLATTEN_CAMPAIGNS=on", "ENRICHER_WORKERS=1")
	got := events(t, b, 2)
	if len(got[0].Events) != 1 || !strings.HasPrefix(string(got[0].Events[0].JSON), report[:len(report)-1]) {
		t.Errorf("the report: %s", got[0].Events[0].JSON)
	}
	// The ids of rows must never change: Devo has them.
	if a, b := string(got[1].Events[0].ID), string(got[1].Events[1].ID); a != "0000000000000000da4daf460f82aa2c" || b != "0000000000000000ffda0d45b760bed5" {
		t.Errorf("the members are %s and %s", a, b)
	}
	if len(got[1].Events) != 2 || !strings.HasPrefix(string(got[1].Events[1].JSON), `{"id":"c1","campaignMembers":{"id":"t2"},"name":"n","campaignMembers_found":2,"campaignMembers_id":2,`) {
		t.Errorf("the campaign: %s", got[1].Events[1].JSON)
	}
}

// TestACampaignIsOneRow unless its members are wanted as rows.
func TestACampaignIsOneRow(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	const detail = `{"id":"c1","campaignMembers":[{"id":"t1"},{"id":"t2"}],"name":"n"}`
	publish(t, b, campaignJob, answer(t, about{campaignJob, feed.Campaigns, nil, ""}, detail))
	r := run(t, b)
	made(t, b, 1)
	if n := counted(t, r)["tapline_enricher_events_total "+feed.Campaigns.Table()]; n != 1 {
		t.Errorf("%v rows are counted", n)
	}
	if got := events(t, b, 1)[0].Events; len(got) != 1 || !strings.HasPrefix(string(got[0].JSON), detail[:len(detail)-1]) {
		t.Errorf("%d rows: %s", len(got), got[0].JSON)
	}
}

// TestAListOfCampaignsIsOrdered: it makes no rows, and each campaign is asked for once.
func TestAListOfCampaignsIsOrdered(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	publish(t, b, campaignsJob, answer(t, about{campaignsJob, feed.Campaigns, nil, "{}"},
		`{"id":"c1","lastUpdatedAt":"2026-03-11T10:04:51.000Z"}`, `{"id":"c1","lastUpdatedAt":"2026-03-11T10:04:51.000Z"}`, `{"id":"c 2"}`, `{"id":null}`))
	run(t, b)
	if note := made(t, b, 1)[0]; note.GetEvents() != 0 || note.GetExtra() != -4 {
		t.Errorf("the account: %v", note)
	}
	if u, err := b.Usage(t.Context(), bus.StreamEvents); err != nil || u.Last != 0 {
		t.Errorf("a message without rows: %+v, %v", u, err)
	}
	orders, dead := orders(t, b, 1), deadLetters(t, b, 1)
	if j := orders[0]; len(j.GetTargets()) != 1 || j.GetTargets()[0].GetId() != "c1" || j.GetLane() != taplinev1.Lane_LANE_EXPAND {
		t.Errorf("ordered: %v", j)
	}
	if !strings.Contains(dead[0], `"c 2" is no id that can be asked for`) {
		t.Errorf("dead: %q", dead)
	}
}

// orders waits for so many jobs for ids.
func orders(t *testing.T, b *bus.Bus, n int) (jobs []*taplinev1.Job) {
	t.Helper()
	sub, err := b.Subscribe(t.Context(), bus.ConsumerFetcherExpand, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Stop()
	for range n {
		d, err := sub.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		j := &taplinev1.Job{}
		if err := proto.Unmarshal(d.Data(), j); err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, j)
	}
	return jobs
}

// TestWhatRecordsNameIsOrderedOnce: each threat in each status and campaign, and each campaign,
// whatever names them.
func TestWhatRecordsNameIsOrderedOnce(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	one := answer(t, about{siemJob, feed.ClicksBlocked, nil, ""}, `{"id":"1","threatID":"t1","threatStatus":"active","campaignId":"c1"}`, `{"id":"2","threatID":"t1","threatStatus":"active","campaignId":null}`)
	two := answer(t, about{siemJob, feed.MessagesDelivered, nil, ""}, `{"id":"3","threatsInfoMap":[{"threatID":"t1","threatStatus":"active","campaignID":"c1"},{"threatID":"t2","threatStatus":"cleared"}]}`, `{"not json`)
	publish(t, b, siemJob, one, two)
	run(t, b, "ENRICHER_EXPANDERS=1")
	got := make(map[string]int)
	for _, j := range orders(t, b, 3) { // threats and campaigns of the first batch, threats of the second
		for _, target := range j.GetTargets() {
			got[j.GetCall()+" "+target.GetId()+" "+target.GetStatus()+" "+target.GetCampaign()]++
		}
	}
	want := map[string]int{"threat t1 active c1": 1, "threat t1 active ": 1, "campaign c1  ": 1, "threat t2 cleared ": 1}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("ordered %v, want %v", got, want)
	}
}

// TestBatchesSideBySideOrderOnce what all of them name.
func TestBatchesSideBySideOrderOnce(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	const batches, threats = 24, 12
	var records []string
	for i := range threats {
		records = append(records, fmt.Sprintf(`{"id":"%d","threatID":"t%d","threatStatus":"active"}`, i, i))
	}
	all := make([][]byte, batches)
	for i := range all {
		all[i] = answer(t, about{siemJob, feed.ClicksBlocked, nil, ""}, records...)
	}
	publish(t, b, siemJob, all...)
	run(t, b, "ENRICHER_EXPANDERS=8")
	arrives(t, b, bus.ConsumerExpander, func(left bus.Backlog) bool { return left.Done >= batches })
	bucket, err := b.Bucket(t.Context(), bus.BucketLedger)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := bucket.Get(t.Context(), ledger.Key(ledger.PartWant, "main", time.Date(2026, 3, 11, 8, 0, 0, 0, time.UTC)))
	if err != nil {
		t.Fatal(err)
	}
	page, err := ledger.DecodePage(entry.Value)
	if err != nil {
		t.Fatal(err)
	}
	var ordered, known uint32
	for _, w := range page.GetWants() {
		ordered, known = ordered+w.GetOrdered(), known+w.GetKnown()
	}
	if ordered != threats || known != (batches-1)*threats {
		t.Errorf("%d were ordered and %d known, want %d and %d", ordered, known, threats, (batches-1)*threats)
	}
}
