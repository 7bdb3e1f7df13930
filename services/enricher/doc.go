// Package enricher makes rows for Devo tables out of records.
//
//	RAW ──▶ enricher ──▶ EVENTS
//	           ├──▶ DEAD, LEDGER
//	           └──▶ JOBS: threats and campaigns that records name
//
// Consumes: batches of records from RAW, twice: for the rows, and for the names in them. Emits:
// batches of events into EVENTS, orders into JOBS. Owns: nothing; it can be replaced at any moment.
//
// A SIEM record becomes a row as it is: the same keys in the same order, the
// same text of every number, the same escapes. Added at the end are
// @devo_pulling_id, the time of the pull as Devo's own collector writes it, and
// @tapline_id, the same for every copy of the same content. What cannot stand in
// a syslog line is taken out: white space between tokens that is not a blank, and
// bytes that are not UTF-8, which become U+FFFD.
//
// Other answers (derive.go) become rows by package flatten: a report one row for each piece of
// evidence, people one each with the figures of their list, threats and campaigns as they are. Such
// rows carry @tapline_generation.
//
// Names (expand.go) are looked up in this process's memory, then in KNOWN; what is new, has changed
// or is linked to another campaign is ordered. Concurrent batches that mention the same id are
// serialized, so each lookup is requested once. A batch is acknowledged for its names when the jobs
// are stored; their ids say which batch they come from, so a repetition orders nothing twice. A
// name that is no id that can be asked for has one dead letter as long as DEAD keeps it, 30 days,
// whatever batches name it: KNOWN remembers it, and it is reported again only after that.
//
// Orders to make rows again (reprocess.go, package replay) read RAW with a consumer of their own.
// Their rows go into EVENTS like all others, beside those made first: under names of their own,
// with @tapline_reprocess_id and @tapline_generation, and with an account of their own. What cannot
// be a row is in DEAD from the first time.
//
// Guarantees: a message of RAW is acknowledged only after its events are stored, and
// then recorded in the ledger. The publication is named <RAW
// sequence>/<table>/<generation>[/<part>/<content>], so a repetition within two hours is dropped by
// the bus. Later the ledger shows that the rows were made, or EVENTS, if the enricher ended between
// storing and recording them.
//
// Fails how: a message that cannot be decoded goes to DEAD whole; a record that
// cannot be a row goes to DEAD alone, and its neighbours are stored. When EVENTS is full or the bus
// is away, messages wait in RAW.
package enricher
