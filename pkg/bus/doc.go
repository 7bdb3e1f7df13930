// Package bus is the only code that speaks NATS. It knows the streams, subjects,
// consumers and buckets ([topology.go] spells them, in flow order), how they are
// made ([Setup]), how messages are published so that a crash never loses or
// doubles them, and how they are consumed.
//
//	          JOBS             RAW              EVENTS
//	scheduler ────▶ fetcher ────▶ enricher ────▶ shipper ───▶ sink
//	                     any stage ───▶ DEAD
//	   key-value buckets: QUOTA, LEDGER, SEEN, KNOWN, STATE, REPLAY
//
// What other packages may rely on:
//
//   - A nil error from a publish means the message is on disk (the server runs
//     with sync_interval always).
//   - [Bus.PublishJob] refuses a job that is outstanding ([ErrOutstanding]), so any
//     number of schedulers may plan the same work.
//   - [Bus.StoreJob] stores all batches of a job and its marker, or nothing. A
//     job whose marker exists answers [ErrAlreadyStored], for as long as RAW keeps
//     it. After an unknown outcome the same call may be repeated.
//   - [Bus.Consume] hands every message to the handler at least once. The handler's
//     error decides what happens: nil acks; [Permanent] stores the message in DEAD
//     and then ends it; [RetryAfter] waits; anything else waits longer each time.
//     Acks are not durable for about 100 ms, so every handler is idempotent.
//   - A subscription never blocks indefinitely while messages are pending: a [Subscription] renews
//     its request in every slice of its wait, after ten seconds, and when the consumer is gone.
//     When it can no longer ask, Consume ends with an error.
//   - A list ([Bucket.Select], [Bucket.Keys], [Bus.Scan]) is whole, or there is an error. Reading
//     makes no consumer. In a cluster a scan, a list of keys and an extent have what the leader had
//     when they began; a single read ([Bucket.Get], [Bucket.Select], [Bus.Message]) may be that of
//     a replica that is a moment behind.
//   - An order to replay has a durable consumer of its own ([ReplayConsumer],
//     [ReprocessConsumer]), which tools make and remove; stages only pull from it.
//   - Two contexts: the one given to Consume stops taking messages; the one a handler
//     gets ends only when the grace period for work in hand is over.
package bus
