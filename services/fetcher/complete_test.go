package fetcher_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/quota"
)

// TestACompletionMayFail: after a crash behind RAW, each thing that completes the job may fail for
// a while. It is completed without a call, and a second reading finds the records known.
func TestACompletionMayFail(t *testing.T) {
	t.Parallel()
	b, faults := faulty(t)
	stop := b.start(t, "BATCH_RECORDS=20")
	job := b.job(b.window, 0)
	b.plan(t, job)
	b.record(t, job)
	for i, call := range []bustest.Call{
		func(subject, _ string, body []byte) bool {
			return strings.HasSuffix(subject, ".DIRECT.GET.RAW") && bytes.Contains(body, []byte(`"seq"`))
		},
		bustest.Read(bus.BucketSeen), bustest.Write(bus.BucketSeen), bustest.Write(bus.BucketLedger),
	} {
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		forget(t, b.bus)
		before := b.calls()
		fault := faults.Fail(call, bustest.Fault{Times: 1})
		stop = b.start(t, "BATCH_RECORDS=20")
		b.plan(t, job)
		fault.Await(t, 1)
		if r := b.record(t, job); r.GetState() != fetched || received(r) == 0 || b.calls() != before {
			t.Errorf("fault %d: %d calls more: %v", i, b.calls()-before, r)
		}
		again := b.job(b.window, uint32(i+1))
		b.plan(t, again)
		for _, f := range b.record(t, again).GetFeeds() {
			if f.GetPublished() > 0 {
				t.Errorf("fault %d: read again: %v", i, f)
			}
		}
	}
}

// TestRecordsOfAnotherTenantAreNotKnown when SEEN is rebuilt from the RAW of both.
func TestRecordsOfAnotherTenantAreNotKnown(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil, append(quota.Seeds("main"), quota.Seeds("other")...)...)
	stop := b.start(t, "TENANT=other")
	theirs := b.job(b.window, 0)
	theirs.Tenant, theirs.Id = "other", "other"+strings.TrimPrefix(theirs.GetId(), "main")
	poll(t, func() bool { return b.bus.PublishJob(t.Context(), theirs) == nil })
	b.record(t, theirs)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	bustest.Publish(t, b.server, "$JS.API.STREAM.DELETE.KV_SEEN", nil)
	if err := b.bus.Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	b.start(t)
	ours := b.job(b.window, 0)
	b.plan(t, ours)
	for _, f := range b.record(t, ours).GetFeeds() {
		if f.GetDuplicate() > 0 || f.GetPublished() != f.GetReceived() {
			t.Errorf("what another tenant has is not published: %v", f)
		}
	}
}
