// Package shipper delivers events to a sink and proves it.
//
//	EVENTS ──▶ shipper ──▶ sink
//	              ├──▶ DEAD, LEDGER
//	REPLAY ◀──────┘
//
// Consumes: batches of events from EVENTS. Emits: rows to the sink, which is
// Devo (syslog over mutual TLS), a file, or standard output. Owns: the connections.
//
// Work is done by workers, one connection each. Within a worker order is kept:
//
//	pull ──▶ pending ──▶ Send ──▶ (on the wire) ──▶ Confirm ──▶ ack
//	            ▲                                      │
//	            └───────── sent again on the next connection, oldest first
//
// Orders to send rows again (replay.go, package replay) have a worker of their own each: own
// consumer, own connection, own rate, perhaps another sink. They take nothing from the other
// workers, and rows of theirs carry @tapline_replay_id.
//
// Guarantees: a message of EVENTS is acknowledged only after each of its events
// is confirmed by the sink or stored in DEAD, and the ledger records it. What confirmed means is
// the sink's to say: acknowledged by the peer's kernel, synced to disk, or written. Rows are
// delivered at least once; after a crash or a lost connection at most what was in flight is
// redelivered, with the same @tapline_id.
//
// The place in EVENTS is the server's to remember, and may be lost (place.go): messages that EVENTS
// gives again are looked up in the ledger, and what it shows as confirmed is acknowledged and not
// sent. A place that is lost is an alarm.
//
// Fails how: while the sink is away nothing is pulled, so messages wait in the
// stream and memory stays as it is; what a worker holds is kept alive on the bus and sent first
// when the sink is back. The outage is logged at its beginning and its end. A message that cannot
// be decoded, an event that is too large, and a row that the endpoint refuses while it takes others
// go to DEAD and do not stop the others (refused.go).
package shipper
