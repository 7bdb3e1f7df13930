package bustest

import (
	"testing"

	"github.com/tapline/tapline/pkg/bus/embedded"
)

// Fill makes a stream full: what it has is all that it may have. It takes something again after
// room.
func Fill(tb testing.TB, s *embedded.Server, stream string) (room func()) {
	tb.Helper()
	js, full, end := lookUp(tb, s, stream)
	defer end()
	cfg, state := full.CachedInfo().Config, full.CachedInfo().State
	before := cfg.MaxBytes
	cfg.MaxBytes = int64(max(state.Bytes, 1))
	if _, err := js.UpdateStream(tb.Context(), cfg); err != nil {
		tb.Fatal(err)
	}
	return func() {
		tb.Helper()
		js, full, end := lookUp(tb, s, stream)
		defer end()
		cfg := full.CachedInfo().Config
		cfg.MaxBytes = before
		if _, err := js.UpdateStream(tb.Context(), cfg); err != nil {
			tb.Fatal(err)
		}
	}
}
