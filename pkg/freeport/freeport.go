// Package freeport finds ports for servers of tests and benchmarks that have to be named before
// they listen, and that listen on the same port again after a restart.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// The ports lie below those that the system gives to outgoing connections and to listeners that do
// not care (32768 and more on Linux): another process could take one of these while its server is
// away. A proxy to it would then talk to itself.
const (
	lowest = 10_000
	count  = 22_000
	tries  = 100
)

// held are the ports that this process has found: a UDP socket of the same number for each. Each
// search tries for that socket first, in every process; the kernel frees it when the process ends.
var held sync.Map

// Find returns a free port of the loopback interface. The port stays reserved across processes,
// even while nothing listens on it, until [Release] or process exit.
func Find() (int, error) {
	var err error
	for range tries {
		port := lowest + rand.IntN(count) //nolint:gosec // chance is only there to keep out of each other's way
		var hold *net.UDPConn
		if hold, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}); err != nil {
			continue
		}
		var ln *net.TCPListener
		if ln, err = net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}); err == nil {
			held.Store(port, hold)
			return port, ln.Close()
		}
		_ = hold.Close() // nothing was written
	}
	return 0, fmt.Errorf("find a port: %w", err)
}

// Release lets others have a port.
func Release(port int) {
	if hold, ok := held.LoadAndDelete(port); ok {
		_ = hold.(*net.UDPConn).Close() // nothing else is stored
	}
}
