package scheduler

import "errors"

var (
	// errStartForm says what TAP_START_TIME may look like.
	errStartForm = errors.New("want RFC 3339 such as 2026-03-11T08:00:00Z, or an age such as 7d or 12h")
	// errStartTooOld refuses an age that nothing can be read of.
	errStartTooOld = errors.New("is longer than the seven days that Proofpoint serves; want at most 7d")
	// errReplaced is about a plan that another scheduler has taken over.
	errReplaced = errors.New("another scheduler works for this tenant with other TAP_FEEDS")
)
