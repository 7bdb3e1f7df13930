// Package pace decides when the next call to Proofpoint may be made.
//
// [Breakers] has one circuit breaker for each lane and endpoint, so that the trouble of one holds
// up no other. After each failure in a row a breaker stays open longer, as its [Curve] says; a
// success closes it. When the time is over, one call probes, and the others wait for what it finds.
//
// [Shared] bounds what failing calls of all replicas may spend of a pool, so that no odd answer
// costs a twentieth of it in an hour. Package quota keeps it.
package pace
