// Package window holds the half-open interval of time that every job, ledger
// entry and marker is about, and the rules that Proofpoint sets for it.
//
// Times are UTC. A [Window] selects records by the time Proofpoint *created*
// them, which is never earlier than the message, click or threat time inside
// the record; nothing may filter records by their own times.
package window
