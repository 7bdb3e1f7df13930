package devo

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// acked asks the kernel how many bytes of this connection the other end's
// kernel has acknowledged. The count includes the SYN.
func acked(raw syscall.RawConn) (int64, error) {
	var info *unix.TCPInfo
	var err error
	if e := raw.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) //nolint:gosec // a descriptor fits an int
	}); e != nil {
		return 0, fmt.Errorf("ask the kernel: %w", e)
	}
	if err != nil {
		return 0, fmt.Errorf("ask the kernel: %w", err)
	}
	return int64(info.Bytes_acked) - 1, nil //nolint:gosec // not in this universe
}

// setUserTimeout lets the kernel give up a connection whose data nobody
// acknowledges.
func setUserTimeout(raw syscall.RawConn, milliseconds int) error {
	var err error
	if e := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, milliseconds) //nolint:gosec // as above
	}); e != nil {
		return e
	}
	return err
}
