package freeport_test

import (
	"net"
	"testing"

	"github.com/tapline/tapline/pkg/freeport"
)

func TestFind(t *testing.T) {
	t.Parallel()
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if port >= 32_768 {
		t.Errorf("port %d may be given to any connection", port)
	}
}

// TestAPortIsGivenOnce although nothing listens on it, to this process or another, which has to ask
// the kernel the same way.
func TestAPortIsGivenOnce(t *testing.T) {
	t.Parallel()
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	ask := func() error {
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err == nil {
			return conn.Close()
		}
		return err
	}
	if ask() == nil {
		t.Error("another process would get the port, too")
	}
	freeport.Release(port)
	if err := ask(); err != nil {
		t.Errorf("a port that was released: %v", err)
	}
}
