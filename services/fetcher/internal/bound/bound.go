// Package bound holds the bounds of what Proofpoint, or a proxy before it, may send. They lie far
// above what Proofpoint sends and far below what a fetcher has room for, so none of them is
// configured. docs/configuration.md has them as a table.
package bound

import "time"

// Of one answer. One beyond them fails as a whole: its window is read in shorter ones.
const (
	// Body is in bytes, as they arrive and as they are decompressed.
	Body = 256 << 20
	// Expansion is how many bytes one compressed byte may become, beyond the first Unpacked bytes.
	Expansion = 200
	// Unpacked is what a body may be decompressed to, bytes, however few bytes it came in.
	Unpacked = 16 << 20
	// Records is how many entries that are JSON objects all arrays together may have.
	Records = 250_000
	// Time is from the headers to the end of the body.
	Time = 5 * time.Minute
	// Progress is how many bytes have to arrive in each TAP_IDLE_TIMEOUT.
	Progress = 1 << 10
	// Headers is in bytes.
	Headers = 64 << 10
	// Members is how many members the outer object may have.
	Members = 1000
	// Key is the length of a key beside the arrays, bytes.
	Key = 64 << 10
	// Envelope is what is kept of the members around the entries of a list, bytes.
	Envelope = 64 << 10
)

// Of one record. One beyond them goes to DEAD; its neighbors do not notice.
const (
	// Record is in bytes; a larger one goes to DEAD in pieces of this size.
	Record = 4 << 20
	// Pieces is how many pieces of it are kept, besides the last one.
	Pieces = 16
	// Depth is how deep objects and arrays are nested in each other.
	Depth = 10_000
)

// Of what is kept of answers.
const (
	// Letters is how many dead letters the entries of one answer make. The window of one with more
	// is cut; if it cannot be, one more letter sums up the others.
	Letters = 1000
	// LetterBytes is what the entries in them have together, bytes. Beyond it the same holds.
	LetterBytes = 80 << 20
	// Before is how far the time of a record may lie before the start of its window. One beyond it
	// is remembered with its window, as one without a time is: an answer touches no more hours than
	// that.
	Before = 31 * 24 * time.Hour
	// After is how far it may lie behind the end.
	After = 24 * time.Hour
	// Seen is how much of SEEN one job has in memory, bytes.
	Seen = 32 << 20
	// SeenHour is how much SEEN has of one feed and hour, bytes: two million records. More of them
	// may be published again.
	SeenHour = 24_000_000
	// Words is how much of an answer, or of an error about one, a log line, an alarm, a dead letter
	// or LEDGER quotes, bytes.
	Words = 500
)
