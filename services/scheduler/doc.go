// Package scheduler decides which windows exist and when they are read, and
// watches over the whole.
//
//	LEDGER, QUOTA ──▶ scheduler ──▶ JOBS
//	                  │      ▲
//	                  └ STATE┘
//
// Consumes: the ledger, for what became of earlier jobs, and the quota, for how
// many calls there are. Emits: jobs. Owns: the bucket STATE, one key for each
// tenant and feed set, and the ledger's ranges, lost and sealed.
//
// Guarantees: every instant from the first start on is read, waiting, unproven, written into the
// ledger as lost, or listed as switched off; see package plan for the rules. It does so by this
// order: plan from the state, record what is lost or sealed, compare-and-set the new state (which
// lists the outstanding jobs), then publish those jobs. A crash in between leaves ranges recorded
// twice, which are the same record, or jobs in the state that are not on the bus. The next run
// republishes every outstanding job that has no result. A second publish of a job that is on the
// bus is refused by the bus, and a second run of a job that is done finds its marker, so repetition
// costs nothing.
//
// At its start it brings the plan in line with the configuration (change.go): a plan of other feeds
// is replaced by one that owes the same. The new plan counts one change more and is written before
// the old one is deleted. A scheduler whose plan was replaced plans nothing and logs it. Orders of
// operators to read something once more are keys of STATE; they are deleted when they are in the
// plan.
//
// Any number of schedulers may run: they make the same jobs from the same
// state, and only one wins the compare-and-set.
//
// Every minute it audits the last hours of the ledger and one older day: entries that
// cannot be, and how fresh the sink is. What needs a look becomes an alarm.
//
// Fails how: without the bus it waits; when a stream is nearly full it plans no
// backfill, then nothing, logs that once, and resumes when there is room.
package scheduler
