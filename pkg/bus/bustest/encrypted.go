package bustest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Node is a server of a cluster with the cluster.conf of a folder.
type Node struct {
	*server.Server

	read func() *server.Options
}

// Nodes starts servers with the cluster.conf of a folder; each takes its certificates from a folder
// of its own.
func Nodes(tb testing.TB, folder string, certs ...string) []Node {
	tb.Helper()
	routes := ports(tb, len(certs))
	var list strings.Builder
	for _, port := range routes {
		fmt.Fprintf(&list, "%q\n", "nats://route:secret@127.0.0.1:"+strconv.Itoa(port))
	}
	nodes := make([]Node, len(certs))
	for i := range nodes {
		nodes[i] = startNode(tb, folder, certs[i], routes[i], list.String())
	}
	return nodes
}

func startNode(tb testing.TB, folder, certs string, port int, routes string) Node {
	tb.Helper()
	g := &Guarded{dir: Dir(tb), main: "cluster.conf"}
	for _, name := range []string{"nats.conf", "users.conf", "tls.conf", "cluster.conf"} {
		data, err := os.ReadFile(filepath.Join(folder, name)) //nolint:gosec // the test names the folder
		if err != nil {
			tb.Fatal(err)
		}
		text := strings.ReplaceAll(string(data), "/etc/nats/tls/", certs+"/")
		g.write(tb, name, strings.ReplaceAll(text, "$NATS_NODE", "node-"+strconv.Itoa(port)))
	}
	g.write(tb, "route.conf", "authorization { user: route, password: \"secret\" }\nroutes: [\n"+routes+"]\n")
	g.setPasswords(tb, nil)
	read := func() *server.Options {
		opts := g.load(tb)
		opts.Cluster.Host, opts.Cluster.Port = "127.0.0.1", port
		return opts
	}
	ns, err := server.NewServer(read())
	if err != nil {
		tb.Fatal(err)
	}
	ns.Start()
	tb.Cleanup(func() {
		ns.Shutdown()
		ns.WaitForShutdown()
	})
	return Node{ns, read}
}

// Reload has the server read its files again, as SIGHUP does.
func (n Node) Reload(tb testing.TB) {
	tb.Helper()
	if err := n.ReloadOptions(n.read()); err != nil {
		tb.Fatal(err)
	}
}

// Meets waits until the server has connections to as many others.
func (n Node) Meets(tb testing.TB, others int) {
	tb.Helper()
	have := func() int {
		names := map[string]bool{}
		routes, err := n.Routez(nil)
		if err != nil {
			tb.Fatal(err)
		}
		for _, r := range routes.Routes {
			names[r.RemoteName] = true
		}
		return len(names)
	}
	for end := time.Now().Add(30 * time.Second); have() != others; {
		if time.Now().After(end) {
			tb.Fatalf("%s knows %d other servers, want %d", n.Name(), have(), others)
		}
		select {
		case <-tb.Context().Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}
