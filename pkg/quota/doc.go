// Package quota keeps Tapline inside Proofpoint's limits: so many calls for each
// pool in any rolling 24 hours, counted over all replicas and all restarts.
//
// The memory of one pool is one key in the bucket QUOTA. Its value is a ring of one-minute buckets
// ([State]). A call is made only after [Limiter.Reserve] has written it down: read the key, check
// the sum, compare-and-set. A writer that loses the race rereads it. What follows from that:
//
//   - The limit is never exceeded, by any number of replicas, through any crash. A
//     crash between the reservation and the call wastes one unit.
//   - A compare-and-set whose answer is lost counts as spent: if it was applied, the
//     next read shows it; no call is made either way.
//   - Proofpoint counts a call when *it* receives it, later than we wrote it down. So a
//     bucket leaves the sum only when its end is older than 24 hours and a margin.
//   - Time never steps back inside the value, whatever a replica's clock says. A clock that is more
//     than ten minutes ahead of it gives no unit back until it was seen twice, two minutes apart:
//     one replica that is wrong for a moment frees nothing.
//   - A key that is missing after the first start means lost memory, not a fresh budget. The pool
//     is rebuilt from the calls that the ledger knows, and some for those it does not ([Rebuilt]).
//     Without a ledger it starts closed for 24 hours, or until an operator opens it. Readers write
//     nothing. A tenant that starts for the first time gets its keys by [Limiter.Begin].
//   - What closes a pool is never shortened by a 429, and a 429 closes it for a day at most.
//   - Calls that are likely to fail have a share of the pool ([Share]), one for all replicas and
//     all restarts. It is charged in the same write as the unit. Only a failure that was not
//     foreseen, and a success after failures, cost a write of their own.
//   - A 429 in spite of budget means that another client uses the credential. The
//     units that must be theirs are written down as external, spread over the
//     last 24 hours because it is unknown when they were used.
package quota
