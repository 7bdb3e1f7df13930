// Package seen remembers which records were published, for as long as Proofpoint
// can return them again, so that overlapping reads do not ship them twice.
//
// The memory is the bucket SEEN: for each tenant, feed and hour of the record's own time a list of
// 12-byte entries, 40 bits of the identity and 56 bits of the content. A full list continues in a
// next chunk. 100 000 records an hour take 1.2 MB for that hour.
//
// What collisions can do, for 100 000 records of one feed in an hour:
//
//   - Two different records that share 40 bits of identity make the second look like a revision.
//     That happens once in 220 hours (5 x 10^9 pairs, each with 2^-40), and a revision is published
//     all the same.
//   - A record is dropped that should not be only when all 96 bits agree: 5 x 10^9 pairs, each with
//     2^-96, are one in 10^15 years.
//   - A revision is dropped when it shares 56 bits with another content of its record: with n
//     contents of one record, n(n-1)/2 pairs, each with 2^-56. One record with 40 000 contents in
//     an hour loses one of them in 90 million such hours; 1 000 records an hour that change once
//     lose one in 8 x 10^9 years.
//
// Versions until November 2026 kept 24 bits of the content. What they wrote is read, and stays with
// 24 bits until it is eight days old: so long a revision of a record of theirs is dropped with a
// probability of 2 x 2^-24, one for its hash and one for the hash that they made ([Sets.Former]).
//
// Order matters and is the caller's: publish first, then [Sets.Commit]. A crash in between forgets,
// which costs duplicates and never loses; the fetcher closes that gap from the stored batches. The
// hours of a window are written in batches, each all or nothing. When another job was faster at one
// of them, they are read and written again in batches, too, and one by one only when that was lost
// several times.
package seen
