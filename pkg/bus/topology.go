package bus

import (
	"strconv"
	"strings"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
)

// Streams, in flow order.
const (
	// StreamJobs holds orders to call Proofpoint: scheduler and enricher to fetcher. Work
	// queue, one message for each subject.
	StreamJobs = "JOBS"
	// StreamRaw holds what Proofpoint said, byte for byte, and the markers: fetcher to enricher.
	StreamRaw = "RAW"
	// StreamEvents holds rows ready to ship: enricher to shipper.
	StreamEvents = "EVENTS"
	// StreamDead holds what a stage could not process.
	StreamDead = "DEAD"
)

// Consumer names a durable consumer and the stream it reads.
type Consumer struct {
	Stream, Name, filter string
}

// Consumers, in flow order. JOBS has one for each lane, so that live work never
// waits behind backfill.
var (
	ConsumerFetcherLive     = Consumer{StreamJobs, "fetcher-live", "job.*.live.>"}
	ConsumerFetcherSweep    = Consumer{StreamJobs, "fetcher-sweep", "job.*.sweep.>"}
	ConsumerFetcherBackfill = Consumer{StreamJobs, "fetcher-backfill", "job.*.backfill.>"}
	ConsumerFetcherAside    = Consumer{StreamJobs, "fetcher-aside", "job.*.aside.>"}
	ConsumerFetcherList     = Consumer{StreamJobs, "fetcher-list", "job.*.list.>"}
	ConsumerFetcherExpand   = Consumer{StreamJobs, "fetcher-expand", "job.*.expand.>"}
	ConsumerFetcherRetry    = Consumer{StreamJobs, "fetcher-retry", "job.*.retry.>"}
	ConsumerEnricher        = Consumer{StreamRaw, "enricher", "raw.>"}
	ConsumerExpander        = Consumer{StreamRaw, "expander", "raw.>"}
	ConsumerShipper         = Consumer{StreamEvents, "shipper", "event.>"}
)

// ReplayConsumer reads what a replay sends again.
func ReplayConsumer(id string) Consumer { return Consumer{Stream: StreamEvents, Name: "replay-" + id} }

// ReprocessConsumer reads the records that are reprocessed.
func ReprocessConsumer(id string) Consumer {
	return Consumer{Stream: StreamRaw, Name: "reprocess-" + id}
}

// ForensicsConsumers read the queue of one forensics call, the most important level
// first. A queue is read by taking from the first of them that has something.
func ForensicsConsumers(call feed.Call) []Consumer {
	var list []Consumer
	for _, lane := range []string{job.Forensics1, job.Forensics2, job.Forensics3, job.Forensics4} {
		list = append(list, Consumer{StreamJobs, "fetcher-" + string(call) + lane[len("forensics"):], "job.*." + lane + "." + string(call) + ".>"})
	}
	return list
}

// Key-value buckets.
const (
	// BucketQuota: "<tenant>.<pool>", the calls of the last 24 hours.
	BucketQuota = "QUOTA"
	// BucketLedger: "<part>.<tenant>.<day>.<hour>", what became of every window.
	BucketLedger = "LEDGER"
	// BucketSeen: "<tenant>.<feed>.<hour>", which records were published already.
	BucketSeen = "SEEN"
	// BucketState: "<tenant>.<feed set>" and "list.<tenant>.<list>", what a scheduler has
	// planned, and "alarm.<tenant>.<name>.<stage>", what is wrong at the moment, and
	// "heartbeat.<tenant>.<stage>.<instance>", which programs run, and "memory.<tenant>.parts", how
	// streams, buckets and consumers were seen last.
	BucketState = "STATE"
	// BucketKnown: "<tenant>.<call>.<id>", what was asked about an id and when, and
	// "<tenant>.attacked.<day>.<list>", who is attacked most.
	BucketKnown = "KNOWN"
	// BucketReplay: "<tenant>.<id>", orders to send or make rows again, and how far each is.
	BucketReplay = "REPLAY"
)

// Flow says what a stage consumes and emits. Every stage declares one, and the
// architecture test joins them to one chain.
type Flow struct{ Stage, Consumes, Emits string }

// Ends of the chain that are no streams.
const (
	FlowLedger = "LEDGER"
	FlowSink   = "sink"
)

const (
	markPrefix  = "mark."
	rawPrefix   = "raw."
	eventPrefix = "event."
	deadPrefix  = "dead."
	trialPrefix = "trial." // of streams that setup makes for a moment
)

// jobSubject is unique for each piece of work that may be outstanding: a window, whatever
// the pass; a target, whatever the window; else a job.
func jobSubject(id job.ID, aside bool) string {
	lane := job.LaneName(id.Lane)
	if aside {
		lane = job.Aside
	}
	subject := "job." + id.Tenant + "." + lane + "." + id.What() + "."
	switch {
	case id.Call.Kind() == feed.KindWindow:
		return subject + id.Window.Compact("-")
	case id.Call.Kind() == feed.KindLookup && id.Target != "":
		return subject + id.Target
	}
	subject += id.Window.Compact("-") + "-" + strconv.FormatUint(uint64(id.Pass), 10)
	if id.Target != "" {
		subject += "-" + id.Target
	}
	return subject
}

func rawSubject(tenant, feed string) string { return rawPrefix + tenant + "." + feed }

// markSubject holds the account of one job. A job id contains slashes, no dots.
func markSubject(tenant, jobID string) string { return markPrefix + tenant + "." + jobID }

// eventSubject: the dots of a table are token separators, so a consumer can
// filter by any prefix of it.
func eventSubject(tenant, table string) string { return eventPrefix + tenant + "." + table }

func deadSubject(tenant, stage, feed string) string {
	return deadPrefix + token(tenant) + "." + token(stage) + "." + token(feed)
}

// trialSubject is one of what setup tries a server with.
func trialSubject(id, what string) string { return trialPrefix + id + "." + what }

// token makes any text usable as one subject token; only dead letters need it,
// since what is wrong with them may be the very name.
func token(s string) string {
	if s == "" {
		return "unknown"
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f || r == '.' || r == '*' || r == '>' {
			return '_'
		}
		return r
	}, s)
}
