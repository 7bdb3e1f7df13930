package bus

import (
	"strings"

	"github.com/tapline/tapline/pkg/window"
)

// Streams, in flow order.
const (
	// StreamJobs holds orders to read one window: scheduler to fetcher. Work queue,
	// one message for each subject.
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
	ConsumerEnricher        = Consumer{StreamRaw, "enricher", "raw.>"}
	ConsumerShipper         = Consumer{StreamEvents, "shipper", "event.>"}
)

// Key-value buckets.
const (
	// BucketQuota: "<tenant>.<pool>", the calls of the last 24 hours.
	BucketQuota = "QUOTA"
	// BucketLedger: "<part>.<tenant>.<day>.<hour>", what became of every window.
	BucketLedger = "LEDGER"
	// BucketSeen: "<tenant>.<feed>.<hour>", which records were published already.
	BucketSeen = "SEEN"
	// BucketState: "<tenant>.<feed set>", what a scheduler has planned, and
	// "alarm.<tenant>.<name>", what is wrong at the moment.
	BucketState = "STATE"
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
)

// jobSubject is unique for each piece of work that may be outstanding.
func jobSubject(tenant, lane, feedSet string, w window.Window) string {
	return "job." + tenant + "." + lane + "." + feedSet + "." + w.Compact("-")
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
