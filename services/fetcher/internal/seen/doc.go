// Package seen remembers which records were published, for as long as Proofpoint
// can return them again, so that overlapping reads do not ship them twice.
//
// The memory is the bucket SEEN: for each tenant, feed and hour of the record's
// own time a list of 8-byte entries, 40 bits of the identity and 24 bits of the
// content. A list that is full goes on in a next chunk. 100 000 records an hour
// take 800 kB for that hour.
//
// What collisions can do: two different records of one hour and feed that share
// 40 bits make the second look like a revision, and a revision is published. Only
// when all 64 bits agree is a record dropped that should not be: for 100 000
// records an hour that is expected once in about two hundred thousand years.
//
// Order matters and is the caller's: publish first, then [Sets.Commit]. A crash
// in between forgets, which costs duplicates and never loses; the fetcher
// closes that gap from the stored batches. The hours of a window are written in
// batches, each all or nothing. When another job was faster at one of them, they are read and written again in
// batches, too, and one by one only when that was lost several times.
package seen
