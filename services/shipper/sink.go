package shipper

import (
	"context"
	"io"
	"time"

	"github.com/tapline/tapline/services/shipper/internal/devo"
	"github.com/tapline/tapline/services/shipper/internal/devohttp"
	"github.com/tapline/tapline/services/shipper/internal/jsonl"
)

// sink is a sink that is ready to be connected to.
type sink struct {
	open   opener
	close  func() error
	expiry func() (time.Time, error) // of the certificate, if there is one
}

// newSink makes the sink that the configuration names.
func newSink(c Config, stdout io.Writer) (sink, error) {
	o := sink{close: func() error { return nil }}
	switch c.Sink {
	case SinkDevoHTTP:
		dialer, err := devohttp.NewDialer(c.HTTP, c.Devo.Host())
		if err != nil {
			return o, err
		}
		o.open = func(ctx context.Context) (conn, error) { return dialer.Open(ctx) }
		o.close = dialer.Close
		return o, nil
	case SinkDevo:
		dialer, err := devo.NewDialer(c.Devo)
		if err != nil {
			return o, err
		}
		o.open = func(ctx context.Context) (conn, error) { return dialer.Open(ctx) }
		if c.Devo.TLS {
			o.expiry = dialer.Expiry
		}
		return o, nil
	}
	sink := jsonl.NewStream(stdout)
	if c.Sink == SinkFile {
		var err error
		if sink, err = jsonl.NewFile(c.File); err != nil {
			return o, err
		}
		o.close = sink.Close
	}
	o.open = func(ctx context.Context) (conn, error) { return sink.Open(ctx) }
	return o, nil
}
