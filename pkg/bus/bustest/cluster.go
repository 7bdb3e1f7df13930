package bustest

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/freeport"
)

// nodes of a cluster that keep everything; one may fail.
const nodes = 3

// Cluster gives a connection to each of three servers that keep every stream three times. They end
// with the test.
func Cluster(tb testing.TB) []*bus.Bus {
	tb.Helper()
	routes := ports(tb, nodes)
	servers := make([]*server.Server, nodes)
	for i := range servers {
		s, err := node{Index: i, Dir: Dir(tb), Port: server.RANDOM_PORT, Routes: routes}.start()
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() {
			s.Shutdown()
			s.WaitForShutdown()
		})
		servers[i] = s
	}
	connections := make([]*bus.Bus, nodes)
	for i, s := range servers {
		var err error
		if connections[i], err = bus.InProcess(s, "test", discard); err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(connections[i].Close)
	}
	setUp(tb, connections[0])
	return connections
}

func setUp(tb testing.TB, b *bus.Bus) {
	tb.Helper()
	limits := Limits
	limits.Replicas = nodes
	if err := b.Setup(tb.Context(), limits, nil); err != nil {
		tb.Fatalf("set up the cluster: %v", err)
	}
}

// node is one server of a cluster.
type node struct {
	Index  int
	Dir    string
	Port   int // for clients
	Routes []int
}

func (n node) name() string { return "node-" + strconv.Itoa(n.Index) }

func (n node) routes() (routes []*url.URL) {
	for _, port := range n.Routes {
		routes = append(routes, &url.URL{Scheme: "nats-route", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))})
	}
	return routes
}

func (n node) start() (*server.Server, error) {
	s, err := server.NewServer(&server.Options{
		ServerName: n.name(), JetStream: true, StoreDir: n.Dir, Host: "127.0.0.1", Port: n.Port, NoSigs: true, NoLog: true,
		Cluster: server.ClusterOpts{Name: "tapline", Host: "127.0.0.1", Port: n.Routes[n.Index]}, Routes: n.routes(),
		JetStreamMaxStore: 1 << 40, JetStreamMaxMemory: 64 << 20,
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", n.name(), err)
	}
	s.Start()
	return s, nil
}

// ports that are free now, in the order of their text: a server that reads its configuration again
// sorts its routes in place while its connections look at them.
func ports(tb testing.TB, n int) (free []int) {
	tb.Helper()
	for len(free) < n {
		port, err := freeport.Find()
		if err != nil {
			tb.Fatal(err)
		}
		if !slices.Contains(free, port) {
			free = append(free, port)
		}
	}
	slices.SortFunc(free, func(a, b int) int { return strings.Compare(strconv.Itoa(a), strconv.Itoa(b)) })
	return free
}
