package devo

import "errors"

// Why a connection is finished.
var (
	// ErrRotated: it ended in order, with everything confirmed that it carried.
	ErrRotated = errors.New("connection ended to confirm what it carried")
	// ErrStalled: bytes were due, and not one was acknowledged for DEVO_STALL_TIMEOUT.
	ErrStalled = errors.New("nothing was acknowledged for too long")
	// ErrEnded: the other side closed it, whatever it had read by then.
	ErrEnded = errors.New("the other side closed the connection")
)

// errClosed: it was closed by us.
var errClosed = errors.New("connection is closed")
