package shipper

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tapline/tapline/services/shipper/internal/devo"
	"github.com/tapline/tapline/services/shipper/internal/devohttp"
)

// objection is how long Check waits for a peer to refuse our certificate: with TLS 1.3 it judges
// after the handshake has ended for us.
const objection = 2 * time.Second

// Check proves that the sink can be reached, without sending anything, and says what
// it found. It leaves a file alone that a shipper may be writing.
func Check(ctx context.Context, c Config) (string, error) {
	switch c.Sink {
	case SinkDevo:
		dialer, err := devo.NewDialer(c.Devo)
		if err != nil {
			return "", err
		}
		conn, err := dialer.Open(ctx)
		if err != nil {
			return "", err
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(ctx, objection)
		defer cancel()
		if err := conn.Wait(ctx); err != nil {
			return "", err
		}
		if !c.Devo.TLS {
			return c.Devo.Address + " takes connections", nil
		}
		return c.Devo.Address + " takes our certificate", nil
	case SinkDevoHTTP:
		dialer, err := devohttp.NewDialer(c.HTTP, c.Devo.Host())
		if err != nil {
			return "", err
		}
		defer dialer.Close()
		if err := dialer.Reach(ctx); err != nil {
			return "", err
		}
		return c.HTTP.URL + " answers; whether it takes the token shows with the first rows", nil
	case SinkFile:
		dir := filepath.Dir(c.File.Path)
		f, err := os.CreateTemp(dir, ".tapline-check-*")
		if err != nil {
			return "", fmt.Errorf("SINK_FILE_PATH: %w", err)
		}
		_ = f.Close() // nothing was written
		if err := os.Remove(f.Name()); err != nil {
			return "", fmt.Errorf("SINK_FILE_PATH: %w", err)
		}
		return dir + " can be written to", nil
	}
	return "standard output of the shipper", nil
}
