// Package freeport finds ports for servers of tests and benchmarks that have to be named before they listen, and that listen on
// the same port again after a restart.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// The ports lie below those that the system gives to outgoing connections and to listeners that do not care (32768
// and more on Linux): one of these would be taken by somebody else while its server is away, by a proxy to it for
// instance, which then talks to itself.
const (
	lowest = 10_000
	count  = 22_000
	tries  = 100
)

// Find gives a port of the loopback interface on which nobody listens.
func Find() (int, error) {
	var err error
	for range tries {
		port := lowest + rand.IntN(count) //nolint:gosec // chance is only there to keep out of each other's way
		var ln *net.TCPListener
		if ln, err = net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}); err == nil {
			return port, ln.Close()
		}
	}
	return 0, fmt.Errorf("find a port: %w", err)
}
