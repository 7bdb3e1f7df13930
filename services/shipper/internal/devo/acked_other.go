//go:build !linux

package devo

import (
	"errors"
	"syscall"
)

// errNoProof: this system does not tell what was acknowledged.
var errNoProof = errors.New("DEVO_CONFIRM=acked needs Linux: use DEVO_CONFIRM=rotate here")

func ask(syscall.RawConn) (said, error) { return said{}, errNoProof }

// heard takes the other end's word for it.
func heard(syscall.RawConn, int64) bool { return true }

func setUserTimeout(syscall.RawConn, int) error { return nil }
