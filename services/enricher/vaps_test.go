package enricher_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
)

// TestAMonthOfLists: the lists of people of a month are more keys than one request may read. They
// hold up nothing, and who is on those of today comes first.
func TestAMonthOfLists(t *testing.T) {
	t.Parallel()
	const (
		days, inADay = 30, 36
	)
	b := bustest.Start(t)
	run(t, b, "TAP_FORENSICS=true")
	lists := make([][]byte, 0, days*inADay)
	for i := range days * inADay {
		at := time.Now().AddDate(0, 0, -(i / inADay))
		data := batch.AppendRawHeader(nil, &batch.Raw{Tenant: "main", Feed: string(feed.PeopleVAP), JobID: vapJob, PullID: fmt.Sprint(at.UnixMilli()), FetchedAt: at})
		lists = append(lists, batch.AppendRecord(data, &batch.Record{
			ID: uint64(i), Hash: 7, JSON: fmt.Appendf(nil, `{"identity":{"guid":"g","emails":["%d@example.com"]},"threatStatistics":{"attackIndex":9}}`, i),
		}))
	}
	publish(t, b, vapJob, lists...)
	arrives(t, b, bus.ConsumerExpander, func(left bus.Backlog) bool { return left.Done >= days*inADay })
	first := bus.ForensicsConsumers(feed.CallThreatForensics)[0]
	publish(t, b, siemJob, answer(t, about{siemJob, feed.MessagesDelivered, nil, ""},
		`{"id":"1","recipient":["7@example.com"],"threatsInfoMap":[{"threatID":"t1"}]}`,
		fmt.Sprintf(`{"id":"2","recipient":["%d@example.com"],"threatsInfoMap":[{"threatID":"t2"}]}`, 5*inADay)))
	arrives(t, b, bus.ConsumerExpander, func(left bus.Backlog) bool { return left.Waiting == 0 && left.InWork == 0 })
	arrives(t, b, first, func(left bus.Backlog) bool { return left.Waiting == 1 }) // the other was attacked five days ago
}

// arrives waits until a consumer is as it should be.
func arrives(t *testing.T, b *bus.Bus, c bus.Consumer, check func(bus.Backlog) bool) {
	t.Helper()
	var left bus.Backlog
	for range 6000 {
		var err error
		if left, err = b.Backlog(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if check(left) {
			return
		}
		<-time.After(5 * time.Millisecond)
	}
	t.Fatalf("still %+v", left)
}
