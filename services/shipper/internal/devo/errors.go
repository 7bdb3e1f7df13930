package devo

import "errors"

// ErrRotated says that a connection ended in order, with everything confirmed
// that it carried.
var ErrRotated = errors.New("connection ended to confirm what it carried")

var (
	errStalled = errors.New("nothing was acknowledged for too long")
	errEnded   = errors.New("the peer closed the connection")
	// errNoProof: this system does not report what was acknowledged.
	errNoProof = errors.New("DEVO_CONFIRM=acked needs Linux: use DEVO_CONFIRM=rotate here")
	errUnheard = errors.New("the peer ended before it had read everything")
)
