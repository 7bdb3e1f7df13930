// Package alarm shows an operator what needs a look, in three places at once: a gauge, a line in
// the log when it begins and when it ends, and a key in the bucket STATE,
// "alarm.<tenant>.<name>.<stage>", which tapctl status shows.
//
// An alarm holds for three minutes and is renewed while its cause lasts, so what a stage that died
// had raised disappears by itself. It ends when the very thing that raised it succeeds:
// [Board.ClearCause]. Only [Board.Hold] raises one for longer.
package alarm
