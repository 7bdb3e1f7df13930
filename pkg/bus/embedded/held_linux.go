package embedded

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// written reports whether a process has a file open for writing: then the system gives no lease for
// reading. Nothing is known where there are no leases, as on a file system of the network, or of
// files of another user.
func written(path string) bool {
	f, err := os.Open(path) //nolint:gosec // the operator names the directory
	if err != nil {
		return false
	}
	defer f.Close() // ends the lease
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	return errors.Is(err, unix.EAGAIN)
}
