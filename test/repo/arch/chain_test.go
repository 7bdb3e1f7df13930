package arch_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/services/enricher"
	"github.com/tapline/tapline/services/fetcher"
	"github.com/tapline/tapline/services/scheduler"
	"github.com/tapline/tapline/services/shipper"
)

var flows = []bus.Flow{scheduler.Flow, fetcher.Flow, enricher.Flow, shipper.Flow}

// TestStagesFormOneChain: each stage consumes what the one before emits.
func TestStagesFormOneChain(t *testing.T) {
	t.Parallel()
	at := bus.FlowLedger
	for i, f := range flows {
		if f.Stage != stages[i] || f.Consumes != at {
			t.Errorf("stage %d is %+v, want %s consuming %s", i, f, stages[i], at)
		}
		at = f.Emits
	}
	if at != bus.FlowSink {
		t.Errorf("the chain ends at %s", at)
	}
	for _, c := range []struct {
		bus.Consumer
		flow bus.Flow
	}{
		{bus.ConsumerFetcherLive, fetcher.Flow},
		{bus.ConsumerFetcherSweep, fetcher.Flow},
		{bus.ConsumerFetcherBackfill, fetcher.Flow},
		{bus.ConsumerEnricher, enricher.Flow},
		{bus.ConsumerShipper, shipper.Flow},
	} {
		if c.Stream != c.flow.Consumes || !strings.HasPrefix(c.Name, c.flow.Stage) {
			t.Errorf("consumer %+v does not serve %+v", c.Consumer, c.flow)
		}
	}
}

// TestArchitectureTableTellsTheChain: the document and the code say the same.
func TestArchitectureTableTellsTheChain(t *testing.T) {
	t.Parallel()
	text := read(t, "ARCHITECTURE.md")
	at := 0
	for _, f := range flows {
		row := fmt.Sprintf("| %s | %s | %s |", f.Stage, f.Consumes, f.Emits)
		i := strings.Index(text, row)
		if i < at {
			t.Errorf("ARCHITECTURE.md has no row %q in its place", row)
		}
		at = max(i, at)
	}
}
