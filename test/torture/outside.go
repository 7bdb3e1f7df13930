package torture

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/tapline/tapline/services/devosink/devocert"
)

// gate stands before the simulated Proofpoint and knows its credentials, which change: for a while
// the old one and the new one are good.
type gate struct {
	next http.Handler

	mu   sync.Mutex
	good []string // secrets; the last one is the current one
}

func newGate(next http.Handler) *gate { return &gate{next: next, good: []string{"secret-0"}} }

func (g *gate) principal() string { return "somebody" }

func (g *gate) current() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.good[len(g.good)-1]
}

// renew makes one more secret good; revoke makes all but that one bad.
func (g *gate) renew() {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, number, _ := strings.Cut(g.good[len(g.good)-1], "-")
	n, err := strconv.Atoi(number)
	if err != nil { // we wrote it
		panic(err)
	}
	g.good = append(g.good, "secret-"+strconv.Itoa(n+1))
}

func (g *gate) revoke() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.good = g.good[len(g.good)-1:]
}

// ServeHTTP hands a call with a good secret on as the simulator's own user.
func (g *gate) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	r.SetBasicAuth(user, "wrong")
	g.mu.Lock()
	for _, secret := range g.good {
		if user == g.principal() && password == secret {
			r.SetBasicAuth("demo", "demo")
		}
	}
	g.mu.Unlock()
	g.next.ServeHTTP(rw, r)
}

// trust is the certificates between shippers and sink, which change: the sink takes those of every
// generation, as Devo does until a certificate ends.
type trust struct {
	dir string

	mu          sync.Mutex
	generations []*devocert.Set
}

func newTrust(dir string) (*trust, error) {
	t := &trust{dir: dir}
	return t, t.renew()
}

// files are where the shippers read the certificates in use.
func (t *trust) files() devocert.Files { return devocert.In(filepath.Join(t.dir, "live")) }

// renew makes a generation and puts it where the shippers look.
func (t *trust) renew() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	set, err := devocert.New(devocert.Options{})
	if err != nil {
		return err
	}
	t.generations = append(t.generations, set)
	written, err := set.Write(filepath.Join(t.dir, strconv.Itoa(len(t.generations))))
	if err != nil {
		return err
	}
	return install(t.files(), written)
}

// server chooses the server certificate that belongs to the client's newest chain: there is one for
// each generation, and the shippers read theirs from the files a moment later.
func (t *trust) server() *tls.Config {
	first, err := t.generations[0].Server()
	if err != nil { // it was made a moment ago
		panic(err)
	}
	first.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if len(t.generations) == 1 {
			return nil, nil // the documented way to say: as it is
		}
		conf, err := t.generations[len(t.generations)-1].Server()
		if err != nil {
			return nil, fmt.Errorf("certificates: %w", err)
		}
		return conf, nil
	}
	return first
}
