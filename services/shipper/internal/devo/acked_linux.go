package devo

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// acked asks the kernel how many bytes of this connection the other end's
// kernel has acknowledged (the count includes the SYN), and whether its window is closed: its buffer
// is full of what its program has not read.
func acked(raw syscall.RawConn) (passed int64, closed bool, err error) {
	var info *unix.TCPInfo
	if e := raw.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}); e != nil {
		return 0, false, fmt.Errorf("ask the kernel: %w", e)
	}
	if err != nil {
		return 0, false, fmt.Errorf("ask the kernel: %w", err)
	}
	return int64(info.Bytes_acked) - 1, info.Snd_wnd == 0, nil
}

// heard reports whether the other end's kernel has acknowledged so many bytes.
func heard(raw syscall.RawConn, bytes int64) bool {
	passed, _, err := acked(raw)
	return err == nil && passed >= bytes
}

// setUserTimeout lets the kernel give up a connection whose data nobody
// acknowledges.
func setUserTimeout(raw syscall.RawConn, milliseconds int) error {
	var err error
	if e := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, milliseconds)
	}); e != nil {
		return e
	}
	return err
}
