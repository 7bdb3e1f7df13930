package scheduler

import "errors"

// errStartForm says what TAP_START_TIME may look like.
var errStartForm = errors.New("want RFC 3339 such as 2026-03-11T08:00:00Z, or an age such as 7d or 12h")
