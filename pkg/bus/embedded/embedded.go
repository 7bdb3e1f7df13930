// Package embedded runs a NATS server inside the process, for the one-process
// form of Tapline and for tests. It listens on no port unless asked to, and
// syncs every write to disk before it acknowledges: with the server's default
// a power cut can lose whole streams.
package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
)

// MaxPayload is the largest message, in bytes. A record may have 4 MiB.
const MaxPayload = 8 << 20

// MaxBatch is how many messages one atomic batch may have; with 500 records in
// each it bounds what one window may hold.
const MaxBatch = 20_000

const startWait = 30 * time.Second

// Options of a server.
type Options struct {
	Dir    string // where streams are kept
	Listen string // "host:port" for other processes; empty for none
	NoSync bool   // tests only: trade safety in a power cut for speed
	// MaxBatch is another limit of messages in an atomic batch than [MaxBatch]: tests only.
	MaxBatch int
	Keys     Keys // encrypt what is kept
	Log      *slog.Logger
}

// Server is a running server.
type Server struct {
	ns   *server.Server
	log  *slog.Logger
	lock *flock.Flock
}

// ErrNotReady means that the server did not come up in time.
var ErrNotReady = errors.New("embedded NATS server did not become ready")

// Start brings a server up.
func Start(o Options) (*Server, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, &config.ProblemError{Variable: "DATA_DIR", Value: o.Dir, Reason: "cannot be made: " + err.Error()}
	}
	lock := flock.New(lockOf(o.Dir))
	if mine, err := lock.TryLock(); err != nil || !mine {
		return nil, &config.ProblemError{Variable: "DATA_DIR", Value: o.Dir, Reason: "is in use by another process: stop it, or choose another directory"}
	}
	if _, err := seal(o.Dir, o.Keys, o.Log); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s, err := start(o)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.lock = lock
	return s, nil
}

// options of a server that listens nowhere.
func options(o Options) *server.Options {
	so := &server.Options{
		ServerName: "tapline", JetStream: true, StoreDir: o.Dir, SyncAlways: !o.NoSync,
		DontListen: true, MaxPayload: MaxPayload, MaxPending: 256 << 20, NoSigs: true,
		JetStreamMaxStore: 1 << 40, JetStreamMaxMemory: 64 << 20,
		JetStreamLimits: server.JSLimitOpts{MaxBatchSize: cmp.Or(o.MaxBatch, MaxBatch), MaxBatchTimeout: 30 * time.Second},
	}
	if o.Keys.Key != "" { // Seal knows this cipher; processors have it built in
		so.JetStreamKey, so.JetStreamCipher = o.Keys.Key.Reveal(), server.AES
	}
	return so
}

func start(o Options) (*Server, error) {
	so := options(o)
	if o.Listen != "" {
		host, port, err := net.SplitHostPort(o.Listen)
		if err != nil {
			return nil, &config.ProblemError{Variable: "NATS_LISTEN", Value: o.Listen, Reason: "want host:port"}
		}
		so.DontListen, so.Host = false, host
		if so.Port, err = strconv.Atoi(port); err != nil {
			return nil, &config.ProblemError{Variable: "NATS_LISTEN", Value: o.Listen, Reason: "want a number as port"}
		}
		if so.Port == 0 {
			so.Port = server.RANDOM_PORT
		}
	}
	ns, err := server.NewServer(so)
	if err != nil {
		return nil, fmt.Errorf("start embedded NATS server in %s: %w", o.Dir, err)
	}
	s := &Server{ns: ns, log: o.Log}
	ns.SetLoggerV2(logger{o.Log}, false, false, false)
	ns.Start()
	if !ns.ReadyForConnections(startWait) {
		s.Stop()
		return nil, fmt.Errorf("%w in 30 s: is the disk of %s full or broken?", ErrNotReady, o.Dir)
	}
	return s, nil
}

// Connect gives a connection that needs no port.
func (s *Server) Connect(name string) (*bus.Bus, error) { return bus.InProcess(s.ns, name, s.log) }

// InProcessConn implements nats.InProcessConnProvider, for tests that publish what
// no part of Tapline would.
func (s *Server) InProcessConn() (net.Conn, error) { return s.ns.InProcessConn() }

// URL is where other processes connect; only for a server that listens.
func (s *Server) URL() string { return s.ns.ClientURL() }

// Healthy asks the server about its streams; a disk error shows here.
func (s *Server) Healthy(context.Context) error {
	if status := s.ns.Healthz(nil); status.Error != "" {
		return fmt.Errorf("NATS server: %s: %w", status.Error, ErrNotReady)
	}
	return nil
}

// Stop ends the server and waits until its files are closed.
func (s *Server) Stop() {
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
	if s.lock != nil {
		_ = s.lock.Close() // the end of the process would release it, too
	}
}
