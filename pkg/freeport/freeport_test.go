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
