package compare

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/tapline/tapline/services/devosink/devocert"
	"github.com/tapline/tapline/test/acceptance/interop"
)

// Classes of ways. Rates are compared within a class only.
const (
	// Drain: the rows are in the store, a stream or a file, before it begins.
	Drain = "drain"
	// Through: the rows go through a store on disk while they are sent, with the safest settings of
	// each program.
	Through = "through"
)

// way is one way of bringing rows to the sink.
type way struct {
	name, class string
	start       func(ctx context.Context, s scene) (*attempt, error)
}

// scene is what a way works with.
type scene struct {
	dir       string // its own
	rows      rows
	sink      string // address
	certs     devocert.Files
	installed interop.Installed
	programs  string // directory of our own ones
}

// path of a file of the way's own.
func (s scene) path(name string) string { return filepath.Join(s.dir, name) }

// write puts a configuration into the way's directory.
func (s scene) write(text string) (path string, err error) {
	path = s.path("conf")
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// port is the one of the sink.
func (s scene) port() string {
	_, port, _ := net.SplitHostPort(s.sink) // it is our own listener's
	return port
}

// attempt is a way at work.
type attempt struct {
	processes []*process // what is measured
	// confirmed waits until the way itself says that everything has arrived; nil where it never
	// says so.
	confirmed func(ctx context.Context) error
	closers   []func() // called in reverse
}

// end stops everything.
func (a *attempt) end() {
	for _, f := range slices.Backward(a.closers) {
		f()
	}
	a.closers = nil
}

// run starts a program that is measured and ends with the attempt.
func (a *attempt) run(ctx context.Context, l launch) error {
	p, err := spawn(ctx, l)
	if err != nil {
		return err
	}
	a.processes = append(a.processes, p)
	a.closers = append(a.closers, p.end)
	return nil
}

// daemon starts one foreign program.
func daemon(ctx context.Context, s scene, args []string) (*attempt, error) {
	a := &attempt{}
	return a, a.run(ctx, launch{dir: s.dir, args: args, env: s.installed.Environ()})
}

// baseline is the way that others are compared with: default settings, in both classes.
const baseline = "Tapline"

// ways are all ways, in the order of the table.
func ways() []way {
	return []way{
		{"bare TLS, 1 connection", Drain, bare(1)},
		{"bare TLS, 2 connections", Drain, bare(2)},
		{baseline, Drain, taplineDrain()},
		{baseline + ", 128 MiB in flight", Drain, taplineDrain("SHIPPER_MAX_INFLIGHT_BYTES=134217728")},
		{"rsyslog, file", Drain, rsyslog(rsyslogMemory)},
		{"syslog-ng, file", Drain, syslogNG("")},
		{baseline, Through, taplineThrough},
		{"rsyslog, disk queue", Through, rsyslog(rsyslogDisk)},
		{"syslog-ng, disk buffer", Through, syslogNG(syslogNGDisk)},
	}
}
