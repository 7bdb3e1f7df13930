package bustest

import (
	"fmt"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tapline/tapline/pkg/bus"
)

// Cluster gives a connection to each of three servers that keep every stream three times. They end with the test.
func Cluster(tb testing.TB) []*bus.Bus {
	tb.Helper()
	const nodes = 3
	var routes []*url.URL
	for _, port := range ports(tb, nodes) {
		routes = append(routes, &url.URL{Scheme: "nats-route", Host: fmt.Sprintf("127.0.0.1:%d", port)})
	}
	servers := make([]*server.Server, nodes)
	for i := range servers {
		servers[i] = node(tb, i, routes)
	}
	connections := make([]*bus.Bus, nodes)
	for i, s := range servers {
		var err error
		if connections[i], err = bus.InProcess(s, "test", discard); err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(connections[i].Close)
	}
	limits := Limits
	limits.Replicas = nodes
	deadline := time.Now().Add(time.Minute)
	for { // the servers elect a leader first
		err := connections[0].Setup(tb.Context(), limits, nil)
		if err == nil {
			return connections
		}
		if time.Now().After(deadline) {
			tb.Fatalf("set up the cluster: %v", err)
		}
	}
}

func node(tb testing.TB, i int, routes []*url.URL) *server.Server {
	tb.Helper()
	_, port, _ := net.SplitHostPort(routes[i].Host)
	o := &server.Options{
		ServerName: fmt.Sprintf("node-%d", i), JetStream: true, StoreDir: Dir(tb), Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		Cluster: server.ClusterOpts{Name: "tapline", Host: "127.0.0.1"}, Routes: routes, JetStreamMaxStore: 1 << 40, JetStreamMaxMemory: 64 << 20,
	}
	if _, err := fmt.Sscan(port, &o.Cluster.Port); err != nil {
		tb.Fatal(err)
	}
	s, err := server.NewServer(o)
	if err != nil {
		tb.Fatal(err)
	}
	s.Start()
	tb.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return s
}

// ports that are free now.
func ports(tb testing.TB, n int) (free []int) {
	tb.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed at once
		if err != nil {
			tb.Fatal(err)
		}
		defer l.Close()
		free = append(free, l.Addr().(*net.TCPAddr).Port) //nolint:forcetypeassert // a TCP listener
	}
	return free
}
