// Package fetcher calls Proofpoint and stores what it said.
//
//	JOBS ──▶ fetcher ──▶ RAW (batches, and one marker for each job)
//	          │  │ └──▶ LEDGER
//	     QUOTA│  └ SEEN, KNOWN
//
// Consumes: jobs, each lane by its own consumer, so that live work never waits
// behind backfill, nor either of them behind threats, campaigns and people. Emits: batches of records into RAW, byte for byte, and
// window records into LEDGER. Owns: the buckets SEEN and KNOWN; takes units from QUOTA.
//
// A job for a window or a page is one call. In this order, so that a crash between any two lines
// repeats work and loses none:
//
//  1. Is the marker of the job in RAW? Then an earlier run stored it: complete
//     SEEN from the stored batches, write LEDGER, ack. Does LEDGER say that it was split or
//     lost? Then ack.
//  2. Is it due? A scheduler whose clock is ahead plans windows before their end and sweeps before their age: they wait on
//     the bus, and a window that has begun is cut (due.go). Then reserve a unit of the pool. None left: the job waits, too.
//  3. Call, splitting the body into records as it comes. Records seen before are counted and
//     dropped; the others go into batches in a spool (memory, then a file). A body
//     that breaks off, or is not what it should be, discards all of it; so does a word in LEDGER that the window was cut meanwhile.
//  4. Store malformed records in DEAD, under names that a repetition gives again.
//  5. Store all batches and the marker in one atomic batch.
//  6. Write SEEN, then LEDGER, then ack. A job that Proofpoint calls wrong in itself goes to DEAD, then
//     is noted as lost in LEDGER, then acked.
//
// A job for ids (expand.go) claims each of them in KNOWN, asks, and stores all answers together; it
// writes KNOWN instead of SEEN. Of several ids those that fail are first published as jobs of their own;
// a single one that fails for a reason of its own is asked for again with growing waits, and goes to DEAD
// when it has failed as often as configured. Whether a 5xx is the id's own is found out by asking something
// else. Jobs for forensics (queue.go) are taken one by one, the most important level first, while their pool has
// more than is kept back for the levels before.
//
// Guarantees: the records of a job are in RAW once, together with the account of
// the job, for any number of runs and fetchers.
//
// Fails how: every call is made once for each delivery of a job. After a
// failure this process makes no call for a while, longer each time (up to five
// minutes), so that an outage at Proofpoint costs few units. A window that
// fails on its own is cut into halves, which the scheduler plans. A refused credential is
// probed every five minutes and raises an alarm. SIEM records and the rest rest
// apart from each other. What each answer of Proofpoint means stands in fate.go.
package fetcher
