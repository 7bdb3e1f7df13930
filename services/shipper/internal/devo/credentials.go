package devo

import (
	"crypto/tls"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// lookEvery is how often the files of the certificates are looked at.
const lookEvery = time.Second

// credentials are the certificates in use. When their files change they are read again, and
// connections with the old ones are replaced; files that cannot be used change
// nothing. It is safe for concurrent use.
type credentials struct {
	cfg Config

	mu         sync.Mutex
	tls        *tls.Config // nil for a relay
	generation int
	stamp      string // of the files that were read last, good or bad
	looked     time.Time
	problem    error // of those files; nil if they are in use
}

func newCredentials(c Config) (*credentials, error) {
	k := &credentials{cfg: c, stamp: stampOf(c), looked: time.Now()}
	var err error
	k.tls, err = c.Load()
	return k, err
}

// stampOf changes when a file does.
func stampOf(c Config) string {
	var b strings.Builder
	for _, path := range []string{c.ChainFile, c.CertFile, c.KeyFile} {
		info, err := os.Stat(path)
		if err != nil {
			fmt.Fprintf(&b, "%v;", err)
			continue
		}
		fmt.Fprintf(&b, "%d %d;", info.Size(), info.ModTime().UnixNano())
	}
	return b.String()
}

// current gives the certificates in use, after a look at their files.
func (k *credentials) current() (*tls.Config, int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := time.Now(); now.Sub(k.looked) >= lookEvery {
		k.looked = now
		k.look()
	}
	return k.tls, k.generation
}

func (k *credentials) look() {
	stamp := stampOf(k.cfg)
	if stamp == k.stamp {
		return
	}
	fresh, err := k.cfg.Load()
	k.stamp, k.problem = stamp, err
	if err == nil {
		k.tls, k.generation = fresh, k.generation+1
	}
}

// Expiry is when the certificate in use ends. The error says why changed files are
// not in use. It must not be asked without TLS.
func (d *Dialer) Expiry() (time.Time, error) {
	conf, _ := d.keys.current()
	d.keys.mu.Lock()
	defer d.keys.mu.Unlock()
	return conf.Certificates[0].Leaf.NotAfter, d.keys.problem
}
