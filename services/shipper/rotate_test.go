package shipper_test

import (
	"testing"

	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/services/devosink"
)

// TestRotationSendsNothingTwice: rows wait to be sent while a connection is being ended, and that
// must not end it before the peer has shown that it has read everything.
func TestRotationSendsNothingTwice(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	fill(t, b, 0, 400, 20)
	sink, environ := endpoint(t, devosink.Index)
	start(t, b, nil, append(environ, "DEVO_CONFIRM=rotate", "DEVO_ROTATE_AFTER=10ms", "SHIPPER_CONNECTIONS=2"))
	settled(t, b)
	if got := sink.Snapshot(); got.Events != 8000 || got.Duplicates != 0 || got.Connections < 4 {
		t.Errorf("the sink has %d rows, %d of them twice, over %d connections", got.Events, got.Duplicates, got.Connections)
	}
}
