//go:build interop

package interop_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/freeport"
	"github.com/tapline/tapline/services/devosink/devocert"
	"github.com/tapline/tapline/test/acceptance/interop"
)

// patience bounds every wait; only a failing test takes so long.
const patience = 3 * time.Minute

// installed is where install.sh puts the programs.
const installed = "../../../bin/interop"

// product is a server that we did not write.
type product struct {
	// config makes its configuration: take what comes over mutual TLS and append each line to a
	// file as it is.
	config func(setup) string
	// command starts it with that configuration, in the foreground.
	command func(at interop.Installed, config, dir string) []string
}

// setup is what a configuration needs.
type setup struct {
	certs          devocert.Files
	port, dir, out string
}

var products = map[string]product{
	"rsyslog": {
		// The queue in memory is switched off: a line is written before the next one is read, so
		// that the program has nothing to lose when it is killed.
		config: func(s setup) string {
			return fmt.Sprintf(`
global(
	workDirectory="%s" maxMessageSize="2m"
	parser.escapeControlCharactersOnReceive="off"
	defaultNetstreamDriver="ossl"
	defaultNetstreamDriverCAFile="%s" defaultNetstreamDriverCertFile="%s" defaultNetstreamDriverKeyFile="%s"
)
main_queue(queue.type="Direct")
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
template(name="asItIs" type="string" string="%%rawmsg%%\n")
ruleset(name="store" queue.type="Direct") {
	action(type="omfile" file="%s" template="asItIs")
}
input(type="imtcp" address="127.0.0.1" port="%s" ruleset="store" supportOctetCountedFraming="off")
`, s.dir, s.certs.Chain, s.certs.ServerCert, s.certs.ServerKey, s.out, s.port)
		},
		command: func(at interop.Installed, config, dir string) []string {
			return []string{at.Program("rsyslogd"), "-n", "-f", config, "-i", dir + "/pid", "-M", at.Find("imtcp.so")}
		},
	},
	"syslog-ng": {
		config: func(s setup) string {
			return fmt.Sprintf(`@version: 3.38
options { log-msg-size(2097152); use-dns(no); dns-cache(no); };
source s_devo {
	network(
		ip("127.0.0.1") port(%s) transport("tls") flags(no-parse)
		tls(ca-file("%s") cert-file("%s") key-file("%s") peer-verify(required-trusted))
	);
};
destination d_file { file("%s" template("${MSG}\n") template-escape(no)); };
log { source(s_devo); destination(d_file); flags(flow-control); };
`, s.port, s.certs.Chain, s.certs.ServerCert, s.certs.ServerKey, s.out)
		},
		command: func(at interop.Installed, config, dir string) []string {
			return []string{
				at.Program("syslog-ng"), "-F", "--stderr", "-f", config, "--module-path", at.Find("libafsocket.so"),
				"-R", dir + "/persist", "-p", dir + "/pid", "-c", dir + "/control",
			}
		},
	},
}

// receiver is one of the products at work.
type receiver struct {
	address string
	out     string // what it has taken, one line each
	certs   devocert.Files
	args    []string
	env     []string
	cmd     *exec.Cmd
	log     *transcript
}

// transcript is what a program says.
type transcript struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *transcript) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String is what was said so far.
func (l *transcript) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// receive starts a product. It ends with the test.
func receive(t *testing.T, name string) *receiver {
	t.Helper()
	root, err := filepath.Abs(installed)
	if err != nil {
		t.Fatal(err)
	}
	at := interop.Installed(root)
	if err := at.Check(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	set, err := devocert.New(devocert.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{address: freeAddress(t), out: filepath.Join(dir, "out"), log: &transcript{}}
	if r.certs, err = set.Write(filepath.Join(dir, "certs")); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(r.address)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "conf")
	text := products[name].config(setup{certs: r.certs, port: port, dir: dir, out: r.out})
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r.args, r.env = products[name].command(at, config, dir), at.Environ()
	r.start(t)
	t.Cleanup(func() {
		r.end(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("%s says:\n%s", name, r.log)
		}
	})
	return r
}

// start runs the program until it listens.
func (r *receiver) start(t *testing.T) {
	t.Helper()
	r.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), r.args[0], r.args[1:]...)
	r.cmd.Env, r.cmd.Stdout, r.cmd.Stderr = r.env, r.log, r.log
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	poll(t, "a listening receiver", func() bool {
		var d net.Dialer
		conn, err := d.DialContext(t.Context(), "tcp", r.address)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
}

// end ends the program.
func (r *receiver) end(signal os.Signal) {
	_ = r.cmd.Process.Signal(signal)
	_ = r.cmd.Wait() // the signal is its status
}

// size is how many bytes were written.
func (r *receiver) size() int64 {
	info, err := os.Stat(r.out)
	if err != nil {
		return 0
	}
	return info.Size()
}

func freeAddress(t *testing.T) string {
	t.Helper()
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// poll checks again and again until it is content or patience ends.
func poll(t *testing.T, what string, check func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !check() {
		select {
		case <-ctx.Done():
			t.Fatalf("after %s still waiting for: %s", patience, what)
		case <-tick.C:
		}
	}
}
