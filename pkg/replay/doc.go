// Package replay is how stored data is resent, or reprocessed: an order on the bus, its state, and
// the loop that works on it inside the stages.
//
//	tapctl ──▶ REPLAY ◀──▶ shipper    rows of EVENTS to a sink
//	               ◀──▶ enricher   records of RAW to rows of EVENTS
//
// An order is one key of the bucket REPLAY, "<tenant>.<id>". It says what is wanted; the part of
// the stream that it is about is fixed when it is given, as first and last sequence. tapctl makes
// the order's own durable consumer first ("replay-<id>" on EVENTS, "reprocess-<id>" on RAW), then
// the key, so every reader of the key finds the consumer. Everything that survives is in the two.
//
//	   ┌────────── resume ──────────┐
//	   ▼                            │
//	ordered ──claim──▶ running ──pause──▶ paused        cancel, from any of the three:
//	   ▲                 │  │                           ──▶ cancelled
//	   └──── release ────┘  ├──▶ done
//	                        └──▶ refused
//
// All changes are compare-and-set ([Store.Change]) of pure functions (order.go). One process owns a
// running order for [lease], and renews that while it works. When it dies, another takes over; the
// owner before, should it wake up, finds that its record is refused and acknowledges nothing.
//
// Guarantees: every message of the part is done at least once: its rows are confirmed by the sink,
// or left out for a reason that is counted. Order of effects: output durable, ledger, progress in
// the key ([Run.Count]), ack. A message that is redelivered after its progress is recorded is known
// ([Run.Counted]) and only acknowledged, so it is counted once and sent once; what was sent and not
// recorded when a process died is resent, with the same ids.
//
// A consumer has no end. An order is done when its consumer has delivered everything up to the
// last sequence and all of it is acknowledged; what comes beyond is acknowledged unseen.
//
// Fails how: a stage that cannot do the order (a sink that is not configured) refuses it, with the
// reason. A consumer that is gone pauses the order; resume recreates it from where the progress is.
// Without the bus nothing moves, and everything resumes when it is back.
package replay
