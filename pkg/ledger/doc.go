// Package ledger is the account of every window of every feed: what was read,
// what it brought, what became of each record, what is missing.
//
// It lives in the bucket LEDGER, in pages: one [taplinev1.LedgerPage] for each
// hour and stage, under "<part>.<tenant>.<day>.<hour>". The stage that knows
// writes, each a part of its own, so that no stage waits for another:
//
//	read   fetcher     one entry for each job: what the call brought, or why it was split
//	made   enricher    one entry for each RAW batch and table: rows made
//	want   enricher    one entry for each RAW batch: threats and campaigns it names
//	sent   shipper     one entry for each of those: rows that the sink confirmed
//	plan   scheduler   ranges that are lost, ranges that are sealed, and rows that left a stream undelivered
//
// An entry is named by what it is about (job id; RAW sequence and table), and
// a repetition replaces it: counts are never added up, so a crash between an
// effect and its acknowledgement cannot count anything twice. Every stage writes
// its entry before it acknowledges. Writers of one process are gathered: what waits
// while a page is being written goes into the next writing of that page ([Ledger]).
//
// [Join] puts the parts together and [Report.Violations] checks what must hold:
//
//	received = duplicate + published + dead            for each job and feed
//	published = rows made - extra + dead               when all its batches are made
//	rows made = rows confirmed + dead at the shipper   for each batch that was confirmed
//	rows made again = rows confirmed + dead            for each batch that was confirmed
//
// Replays (package replay) stand beside these sums. Rows that one brings to the sink count as
// confirmed if they were not confirmed before, and as resent if they were, went elsewhere, or are
// not the whole batch. Rows that reprocessing makes again have an account of their own.
//
// Extra are the rows beyond one for each record: a forensic report makes many, a list of
// campaigns makes none.
//
// [Report.Covered] says which time is read, lost or sealed. All but the scheduler's part can
// be derived again from the streams: the markers in RAW, the batches in EVENTS and
// what the shipper's consumer has acknowledged; see [Rebuild].
package ledger
