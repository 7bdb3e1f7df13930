package devo

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// ask asks the kernel about this connection.
func ask(raw syscall.RawConn) (said, error) {
	var info *unix.TCPInfo
	var err error
	if e := raw.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}); e != nil {
		return said{}, fmt.Errorf("ask the kernel: %w", e)
	}
	if err != nil {
		return said{}, fmt.Errorf("ask the kernel: %w", err)
	}
	return said{
		acked: int64(info.Bytes_acked) - 1, received: int64(info.Bytes_received), closed: info.Snd_wnd == 0,
		open: info.State == unix.BPF_TCP_ESTABLISHED,
	}, nil
}

// setUserTimeout lets the kernel give up a connection whose data is not acknowledged.
func setUserTimeout(raw syscall.RawConn, milliseconds int) error {
	var err error
	if e := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, milliseconds)
	}); e != nil {
		return e
	}
	return err
}
