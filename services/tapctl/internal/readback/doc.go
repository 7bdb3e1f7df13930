// Package readback compares what the ledger says was confirmed by the sink with what
// queries find at Devo.
//
//	EVENTS ─┐
//	LEDGER ─┼▶ rows that were confirmed ─▶ compare ◀─ rows that Devo has
//	DEAD   ─┘
//
// Rows are compared by @tapline_id, one slice of EVENTS after the other, each with so many rows as
// fit into a bounded memory. What seems to be missing is asked for once more, up to now, before it
// is called missing. Rows that are not confirmed yet, or so lately that Devo may not have them, are
// counted and left alone.
package readback
