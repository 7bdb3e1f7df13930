// Package clock says what may be believed of Proofpoint's clock.
//
// [Clock] measures it by the answers that served a window, not by error pages, which caches and
// proxies make. A jump counts when two answers some time apart agree. [Lag] is how far behind its
// own clock Proofpoint serves.
package clock
