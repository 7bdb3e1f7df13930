package program

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Protect keeps the memory and the environment of this process, which hold secrets, from other
// processes of the same user and out of core files. What the system does not grant is no reason to
// stop.
func Protect() {
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}
