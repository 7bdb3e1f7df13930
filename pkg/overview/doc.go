// Package overview reads what the stages keep and says how things stand. It
// changes nothing.
//
//	STATE, LEDGER, QUOTA, streams ──▶ overview ──▶ tapctl
//
// What it returns is meant to be printed or sent as JSON; the names of the JSON members
// are part of the interface.
//
// Time up to the head of live reading is in one of these states, for each feed:
//
//	lost      given up, with the reason; also what was read once and not swept in time
//	read      an entry of the ledger says that it was read
//	waiting   planned, or for backfill to plan
//	missing   none of these: a gap that no job covers, which must not be
//
// [Reader.Verify] finds what is missing and what does not add up.
package overview
