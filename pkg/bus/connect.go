package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"

	"github.com/tapline/tapline/pkg/backoff"
	"github.com/tapline/tapline/pkg/config"
)

// inboxPrefix and the name of a connection make the subjects on which its answers come.
const inboxPrefix = "_INBOX_"

// requestTimeout bounds every single call to the server.
const requestTimeout = 5 * time.Second

// Bus is one connection. It is safe for concurrent use.
type Bus struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	log    *slog.Logger
	name   string
	user   string // empty in process, where everything is allowed
	tracer trace.Tracer
	closed chan struct{}
	watch  atomic.Pointer[func(connected bool)]
	// refused says that the server does not take the password, and that this is in the log.
	refused atomic.Bool
	writes  writes
	denial  atomic.Pointer[error] // the last thing that the server did not allow
}

// Connect reaches the server of the configuration. It waits for a server that is not
// there yet, until ctx ends; a refused credential ends it at once.
func Connect(ctx context.Context, c Config, name string, log *slog.Logger) (*Bus, error) {
	opts, err := c.options()
	if err != nil {
		return nil, err
	}
	opts = append(opts, nats.RetryOnFailedConnect(false))
	for told := false; ; told = true {
		b, err := connect(c.URL, name, log, append(opts, nats.CustomInboxPrefix(inboxPrefix+c.inbox(name)))...)
		if err == nil {
			b.user = c.User
			return b, nil
		}
		if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) {
			return nil, &config.ProblemError{Variable: "NATS_USER", Value: c.User, Reason: "the NATS server refuses this user or its password"}
		}
		if !told {
			log.Warn("wait for the NATS server", slog.String("url", config.RedactAddress(c.URL)), slog.Any("error", err))
		}
		if !backoff.Sleep(ctx, time.Second) {
			return nil, fmt.Errorf("connect to NATS at %s: %w", config.RedactAddress(c.URL), errors.Join(ctx.Err(), err))
		}
	}
}

// inbox is where answers come. A program that people run has the name of none of its users.
func (c Config) inbox(name string) string {
	if c.User == UserViewer || c.User == UserOperator {
		return c.User
	}
	return name
}

func (c Config) options() ([]nats.Option, error) {
	var opts []nats.Option
	if c.User != "" {
		opts = append(opts, nats.UserInfoHandler(func() (user, password string) { return c.User, c.password() }))
	}
	if c.CredsFile != "" {
		opts = append(opts, nats.UserCredentials(c.CredsFile))
	}
	if c.CAFile != "" {
		opts = append(opts, nats.RootCAs(c.CAFile))
	}
	if c.CertFile != "" {
		opts = append(opts, nats.ClientCert(c.CertFile, c.KeyFile))
	}
	var probe nats.Options
	for _, opt := range opts { // files are read here: say which one is wrong before any dialing
		if err := opt(&probe); err != nil {
			return nil, &config.ProblemError{Variable: "NATS_CA_FILE, NATS_CERT_FILE, NATS_KEY_FILE or NATS_CREDS_FILE", Reason: err.Error()}
		}
	}
	return opts, nil
}

// InProcess connects to an embedded server without a port.
func InProcess(server nats.InProcessConnProvider, name string, log *slog.Logger) (*Bus, error) {
	return connect("", name, log, nats.InProcessServer(server))
}

func connect(url, name string, log *slog.Logger, opts ...nats.Option) (*Bus, error) {
	b := &Bus{log: log, name: name, tracer: silent, closed: make(chan struct{})}
	opts = slices.Concat([]nats.Option{nats.CustomInboxPrefix(inboxPrefix + name)}, opts, []nats.Option{
		nats.Name(name), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond), nats.ReconnectJitter(250*time.Millisecond, 500*time.Millisecond),
		// A password is changed here and there, not at the same instant.
		nats.IgnoreAuthErrorAbort(),
		nats.ClosedHandler(func(*nats.Conn) { close(b.closed) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("NATS connection lost", slog.Any("error", err))
				b.notify(false)
			}
		}),
		nats.ReconnectErrHandler(b.cannotReconnect), nats.ReconnectHandler(b.reconnected),
		// A denied call shows only here; its caller sees a time-out.
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrAuthorization) && b.refused.Swap(true) {
				return // logged once for each outage
			}
			if errors.Is(err, nats.ErrPermissionViolation) {
				b.denial.Store(&err)
			}
			attrs := []any{slog.Any("error", err)}
			if sub != nil {
				attrs = append(attrs, slog.String("subject", sub.Subject))
			}
			log.Error("NATS reports an error", attrs...)
		}),
	})
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", distrust(err))
	}
	b.checkExpiry(nc)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(requestTimeout))
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	b.nc, b.js = nc, js
	return b, nil
}

// cannotReconnect logs once for each outage why it lasts, if trust is what is missing.
func (b *Bus) cannotReconnect(_ *nats.Conn, err error) {
	if explained := distrust(err); explained != err && !b.refused.Swap(true) { //nolint:errorlint // whether something was added
		b.log.Error("cannot reach the NATS server", slog.Any("error", explained))
	}
}

func (b *Bus) reconnected(nc *nats.Conn) {
	b.refused.Store(false)
	b.checkExpiry(nc)
	b.log.Info("NATS connection restored")
	b.notify(true)
}

// Denied is the last thing that the server did not allow, or nil. The call itself only runs out of
// time.
func (b *Bus) Denied() error {
	if denial := b.denial.Load(); denial != nil {
		return *denial
	}
	return nil
}

// OnState calls f when the connection is lost and when it is back.
func (b *Bus) OnState(f func(connected bool)) { b.watch.Store(&f) }

func (b *Bus) notify(connected bool) {
	if f := b.watch.Load(); f != nil {
		(*f)(connected)
	}
}

// Close flushes what is published, ends every subscription and waits for it.
func (b *Bus) Close() {
	if err := b.nc.Drain(); err != nil {
		b.nc.Close()
	}
	<-b.closed
}
