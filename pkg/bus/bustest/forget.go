package bustest

import (
	"testing"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/embedded"
)

// Forget takes a consumer away, and with it what it knows. The next setup makes it anew.
func Forget(tb testing.TB, s *embedded.Server, c bus.Consumer) {
	tb.Helper()
	_, stream, end := lookUp(tb, s, c.Stream)
	defer end()
	if err := stream.DeleteConsumer(tb.Context(), c.Name); err != nil {
		tb.Fatal(err)
	}
}
