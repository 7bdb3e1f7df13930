// Package ladder decides what a failed call means for its window. It is pure: what happened goes
// in, what to do comes out.
//
// No answer ends a window. One that fails is asked for again, another way, in parts, and at last it
// is set aside, to be asked for now and then. Three questions decide:
//
//   - Whose failure is it? A failure is the window's own if the answer is about the window, as a
//     400 is, or if the endpoint has served another since the window failed before. Failures of all
//     windows count for none: the window waits.
//   - Which way is next? An odd answer is asked for by other endpoints, then in halves. A failure
//     that may come from the size is asked for again, then in halves.
//   - May it cost more calls? Halves double the calls, so they are made only while the endpoint
//     serves other windows, and while the share of windows that fail is not spent; see package
//     pace.
//
// It also remembers which lengths an endpoint takes, so that each is refused a few times and not
// for each window.
package ladder
