// Package fetcher calls Proofpoint and stores what it said.
//
//	JOBS ──▶ fetcher ──▶ RAW (batches, and one marker for each job)
//	          │  │ └──▶ LEDGER
//	     QUOTA│  └ SEEN, KNOWN
//
// Consumes: jobs, each lane by its own consumer, so that live work never waits
// behind backfill, nor either of them behind threats, campaigns and people. Emits: batches of
// records into RAW, byte for byte, and window records into LEDGER. Owns: the buckets SEEN and
// KNOWN; takes units from QUOTA.
//
// A job for a window or a page is usually one call. In this order, so that a crash between any two
// lines repeats work and loses none:
//
//  1. Is the marker of the job in RAW? Then an earlier run stored it: complete
//     SEEN from the stored batches, write LEDGER, ack. Does LEDGER say that it was split, lost or
//     set aside? Then ack.
//  2. May it be called? Not with a refused credential, not while RAW is full, not while the breaker
//     of its lane and endpoint is open. Is it due? A scheduler whose clock is ahead plans windows
//     before their end and sweeps before their age: they wait on the bus, and a window that has
//     begun is cut (due.go). So is one that brings more than an answer may have, as windows like it
//     did (dense.go). Then reserve a unit of the pool. None left: the job waits, too. So does a
//     call that is likely to fail when all fetchers have spent what such calls may cost (probe.go).
//  3. Call, splitting the body into records as it comes. Records seen before are counted and
//     dropped; the others go into batches in a spool (memory, then a file). An answer that does not
//     prove its window read discards all of it; so does a word in LEDGER that the window was cut
//     meanwhile.
//  4. Store malformed records in DEAD, under names that a repetition gives again. Of too many, one
//     letter sums up the others.
//  5. Store all batches and the marker in one atomic batch. What cannot be stored is kept for some
//     minutes: the call would cost another unit.
//  6. Write SEEN, then LEDGER, then ack.
//
// No answer ends a window. One that fails is asked for again by other endpoints, in parts, and at
// last set aside, to be offered again by the scheduler: package ladder decides, package pace says
// when. Only what is older than seven days by every clock is lost. An answer is believed if it has
// each array that was asked for and reaches the end asked for, or if this API was learned to speak
// otherwise (shape.go). An answer that proves a part of its window is stored, and LEDGER says up to
// where.
//
// A job for ids (lookupjob.go) claims each of them in KNOWN, asks, and stores all answers together;
// it writes KNOWN instead of SEEN. If some ids of a job fail, each gets its own job. An id that
// keeps failing is retried with backoff and dead-lettered after EXPAND_ATTEMPTS. On a 5xx, a probe
// with another id tells a bad id from an outage. Jobs for forensics (queue.go) are taken one by
// one, the most important level first, while their pool has more than is kept back for the levels
// before.
//
// Guarantees: the records of a job are in RAW once, together with the account of
// the job, for any number of runs and fetchers.
//
// Fails how: every call is made once for each delivery of a job. Each lane and endpoint has a
// breaker, so that an outage costs few units, and the trouble of one holds up no other. A refused
// credential is probed every five minutes at an endpoint without a limit. What each answer of
// Proofpoint means stands in outcome.go; its alarms are ended by the success of what raised them
// (trouble.go). A clock is learned only from what was served (package clock).
package fetcher
