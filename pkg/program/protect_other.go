//go:build !linux

package program

// Protect does nothing on systems that Tapline is not deployed on.
func Protect() {}
