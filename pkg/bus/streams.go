package bus

import (
	"cmp"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Bounds of one message with its headers, bytes. Decoders rely on the first, also where a server of
// somebody else takes more.
const (
	maxMessage = 8 << 20
	maxDead    = maxPiece + 1<<20 // a piece, the words around it, and the job of a retry
)

// Bounds of streams and buckets, bytes, unless [Limits] has others: see docs/sizing.md.
const (
	jobsMaxBytes   = 1 << 30
	deadMaxBytes   = 4 << 30
	bucketMaxBytes = 4 << 30
	// fewBytes divides the bound for buckets whose size does not depend on the records: QUOTA,
	// REPLAY and STATE.
	fewBytes = 8
)

func streams(l Limits) []jetstream.StreamConfig {
	data := jetstream.StreamConfig{
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, MaxAge: Horizon,
		Compression:        jetstream.NoCompression, // the batches are compressed already
		AllowAtomicPublish: true, AllowDirect: true,
		Duplicates: dedupHorizon, MaxMsgSize: maxMessage, Replicas: l.Replicas,
	}
	raw, events := data, data
	raw.Name, raw.Subjects, raw.MaxBytes = StreamRaw, []string{rawPrefix + ">", markPrefix + ">"}, l.RawMaxBytes
	raw.Description = "records as Proofpoint sent them, and one marker for each job"
	events.Name, events.Subjects, events.MaxBytes = StreamEvents, []string{eventPrefix + ">"}, l.EventsMaxBytes
	events.Description = "rows ready to ship"
	return []jetstream.StreamConfig{
		{
			Name: StreamJobs, Subjects: []string{"job.>"}, Description: "windows to read",
			Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew,
			MaxMsgsPerSubject: 1, DiscardNewPerSubject: true, AllowDirect: true, MaxBytes: cmp.Or(l.JobsMaxBytes, jobsMaxBytes), MaxMsgSize: maxMessage, Replicas: l.Replicas,
		},
		raw, events,
		{
			Name: StreamDead, Subjects: []string{deadPrefix + ">"}, Description: "what a stage could not process",
			Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, MaxAge: deadHorizon,
			MaxBytes: cmp.Or(l.DeadMaxBytes, deadMaxBytes), MaxMsgSize: maxDead,
			Compression: jetstream.S2Compression, AllowDirect: true, Duplicates: dedupHorizon, Replicas: l.Replicas,
		},
	}
}

// buckets are made as streams, because the client library would let one message empty a bucket:
// with it, a client that may write one key may replace all others by it (Nats-Rollup).
func buckets(l Limits) []jetstream.StreamConfig {
	most := cmp.Or(l.BucketMaxBytes, bucketMaxBytes)
	bucket := func(name, description string, age time.Duration) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			MaxBytes: most / fewBytes, MaxMsgSize: maxMessage,
			Name: bucketStream(name), Subjects: []string{"$KV." + name + ".>"}, Description: description,
			MaxMsgsPerSubject: 1, MaxAge: age, Discard: jetstream.DiscardNew, DenyDelete: true, AllowDirect: true, Replicas: l.Replicas,
		}
	}
	ledger, known := bucket(BucketLedger, "what became of every window", ledgerHorizon), bucket(BucketKnown, "threats and campaigns that were asked for", knownHorizon)
	ledger.Compression, known.Compression = jetstream.S2Compression, jetstream.S2Compression
	seen := bucket(BucketSeen, "records published already", seenHorizon)
	seen.AllowAtomicPublish = true
	ledger.MaxBytes, known.MaxBytes, seen.MaxBytes = most, most, most
	state := bucket(BucketState, "what is planned, and who runs", 0)
	state.MaxMsgsPerSubject = 5
	return []jetstream.StreamConfig{
		bucket(BucketQuota, "calls of the last 24 hours", 0), ledger, seen, known, bucket(BucketReplay, "orders to send rows again", replayHorizon), state,
	}
}

// spare keeps a bound that comes to a stream from being below what the stream has. A stream that
// had no bound gets a quarter more, so that it still takes something. The bound of one that had one
// does not grow with what is stored. RAW and EVENTS may be given less, as delivered history makes
// room there.
func (b *Bus) spare(want *jetstream.StreamConfig, before int64, stored uint64) {
	if want.Name == StreamRaw || want.Name == StreamEvents {
		return
	}
	least := int64(stored + stored/4)
	if before > 0 {
		least = min(before, int64(stored))
	}
	if want.MaxBytes < least {
		b.log.Warn("a stream holds more than it may: its bound is raised", slog.String("stream", want.Name), slog.Uint64("bytes", stored),
			slog.Int64("setting", want.MaxBytes), slog.Int64("bound", least))
		want.MaxBytes = least
	}
}
