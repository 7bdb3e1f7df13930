// Package ledger is the account of every window of every feed, kept in the
// bucket LEDGER: one [taplinev1.WindowRecord] for each tenant, feed and window.
//
// The stage that knows writes: the fetcher what a call brought (or why the
// window was split), the scheduler what it had to give up as lost. The
// scheduler reads it to learn what is done. Everything a fetcher writes here is
// also in the marker of the job, so the ledger can be derived again.
package ledger
