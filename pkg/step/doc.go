// Package step names the points between two effects of a stage, where the end of
// the process must lose nothing.
//
// In a usual build it does nothing and costs nothing: [At] is empty and inlined
// away, [Clock] is nil. With the build tag torture, which only test/torture uses,
// these variables count:
//
//	TAPLINE_KILL=fetcher.published:3   kill this process (SIGKILL) at the third pass of that step
//	TAPLINE_STEPS=FILE                 append the name of each step to FILE when it is passed first
//	TAPLINE_CLOCK=FILE                 take the time from FILE, see [Clock] and [Wait]
//
// A new step needs nothing but its line: the crash matrix finds it in the code.
package step
