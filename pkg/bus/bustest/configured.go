package bustest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
)

// Guarded is a server, or some, that knows users, as the configuration files of a deployment make
// it.
type Guarded struct {
	Options *server.Options // as read from the files, but for addresses and directories
	ns      []*server.Server
	urls    []string
	dir     string
	main    string // the file that includes the others
	certs   string // folder
}

// StartGuarded starts a server from the nats.conf and the users.conf of a folder. It
// listens on loopback and ends with the test. The password of each user is its name.
func StartGuarded(tb testing.TB, folder string) *Guarded {
	tb.Helper()
	return startGuarded(tb, folder, "nats.conf", "")
}

// StartEncrypted is StartGuarded with the tls.conf of the folder, and the certificates of another.
func StartEncrypted(tb testing.TB, folder, certs string) *Guarded {
	tb.Helper()
	return startGuarded(tb, folder, "tls.conf", certs)
}

func startGuarded(tb testing.TB, folder, main, certs string) *Guarded {
	tb.Helper()
	g := configured(tb, folder, main, certs)
	g.Options = g.load(tb)
	g.start(tb, g.Options)
	return g
}

// StartGuardedCluster starts three servers.
func StartGuardedCluster(tb testing.TB, folder string) *Guarded {
	tb.Helper()
	g := configured(tb, folder, "nats.conf", "")
	routes := ports(tb, nodes)
	for i := range nodes {
		opts, n := g.load(tb), node{Index: i, Routes: routes}
		opts.ServerName, opts.StoreDir = n.name(), filepath.Join(g.dir, n.name())
		opts.Cluster, opts.Routes = server.ClusterOpts{Name: "tapline", Host: "127.0.0.1", Port: routes[i]}, n.routes()
		g.Options = opts
		g.start(tb, opts)
	}
	return g
}

func configured(tb testing.TB, folder, main, certs string) *Guarded {
	tb.Helper()
	g := &Guarded{dir: Dir(tb), main: main, certs: certs}
	g.configure(tb, folder)
	g.setPasswords(tb, nil)
	return g
}

// configure takes the files of a folder, for the next start.
func (g *Guarded) configure(tb testing.TB, folder string) {
	tb.Helper()
	for _, name := range []string{"nats.conf", "users.conf", g.main} {
		data, err := os.ReadFile(filepath.Join(folder, name)) //nolint:gosec // the test names the folder
		if err != nil {
			tb.Fatal(err)
		}
		g.write(tb, name, strings.ReplaceAll(string(data), "/etc/nats/tls/", g.certs+"/"))
	}
}

func (g *Guarded) start(tb testing.TB, opts *server.Options) {
	tb.Helper()
	ns, err := server.NewServer(opts)
	if err != nil {
		tb.Fatal(err)
	}
	ns.Start()
	tb.Cleanup(func() { end(ns) })
	if len(opts.Routes) == 0 && !ns.ReadyForConnections(30*time.Second) {
		tb.Fatal("the server does not become ready")
	}
	g.ns, g.urls = append(g.ns, ns), append(g.urls, ns.ClientURL())
}

func end(ns *server.Server) {
	ns.Shutdown()
	ns.WaitForShutdown()
}

// Restart ends the server and starts it again at the same address, with the files of a folder.
func (g *Guarded) Restart(tb testing.TB, folder string) {
	tb.Helper()
	port := g.ns[0].Addr().(*net.TCPAddr).Port // it listens on TCP
	end(g.ns[0])
	g.configure(tb, folder)
	g.setPasswords(tb, nil)
	g.ns, g.urls, g.Options = nil, nil, g.load(tb)
	g.Options.Port = port
	g.start(tb, g.Options)
}

// Drop ends the connections of all clients, which connect anew.
func (g *Guarded) Drop(tb testing.TB) {
	tb.Helper()
	conns, err := g.ns[0].Connz(nil)
	if err != nil {
		tb.Fatal(err)
	}
	for _, c := range conns.Conns {
		_ = g.ns[0].DisconnectClientByID(c.Cid) // one that is gone already is gone
	}
}

func (g *Guarded) load(tb testing.TB) *server.Options {
	tb.Helper()
	opts, err := server.ProcessConfigFile(filepath.Join(g.dir, g.main))
	if err != nil {
		tb.Fatal(err)
	}
	opts.Host, opts.Port, opts.HTTPHost, opts.HTTPPort = "127.0.0.1", server.RANDOM_PORT, "", 0
	opts.StoreDir, opts.NoSigs, opts.NoLog = filepath.Join(g.dir, "data"), true, true
	return opts
}

// Reload has the server take new passwords, as SIGHUP does; who is not in the map has their name,
// and who has an empty one there has none.
func (g *Guarded) Reload(tb testing.TB, passwords map[string]string) {
	tb.Helper()
	g.setPasswords(tb, passwords)
	if err := g.ns[0].ReloadOptions(g.load(tb)); err != nil {
		tb.Fatal(err)
	}
}

func (g *Guarded) setPasswords(tb testing.TB, other map[string]string) {
	tb.Helper()
	var b strings.Builder
	names := []string{"sys"}
	for _, u := range bus.Users() {
		names = append(names, u.Name)
	}
	conf, err := os.ReadFile(filepath.Join(g.dir, "users.conf"))
	if err != nil {
		tb.Fatal(err)
	}
	for _, name := range names {
		if !strings.Contains(string(conf), "$PASSWORD_"+strings.ToUpper(name)) { // a variable that is not used stops a server
			continue
		}
		password := name
		if p, ok := other[name]; ok {
			password = p
		}
		if password == "" {
			continue
		}
		fmt.Fprintf(&b, "PASSWORD_%s = %q\n", strings.ToUpper(name), password)
	}
	g.write(tb, "passwords.conf", b.String())
	g.write(tb, "encryption.conf", "")
}

func (g *Guarded) write(tb testing.TB, name, text string) {
	tb.Helper()
	if err := os.WriteFile(filepath.Join(g.dir, name), []byte(text), 0o600); err != nil { //nolint:gosec // the names stand in this file
		tb.Fatal(err)
	}
}

// As is how a user connects.
func (g *Guarded) As(user string) bus.Config {
	return bus.Config{URL: strings.Join(g.urls, ","), User: user, Password: config.Secret(user)}
}

// Reopen ends the server, lets something happen to its store, and starts it again with what
// encryption.conf has from then on.
func (g *Guarded) Reopen(tb testing.TB, encryption string, between func(store string)) {
	tb.Helper()
	end(g.ns[0])
	between(g.Options.StoreDir)
	g.write(tb, "encryption.conf", encryption)
	g.ns, g.urls, g.Options = nil, nil, g.load(tb)
	g.start(tb, g.Options)
}
