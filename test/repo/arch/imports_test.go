package arch_test

import (
	"slices"
	"strings"
	"testing"
)

// under reports whether a path is dir or lies in it.
func under(path string, dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool {
		return path == dir || strings.HasPrefix(path, dir+"/")
	})
}

// forbidden returns why a folder may not import a path, or "".
func forbidden(dir, path string) string {
	own, ours := strings.CutPrefix(path, module)
	switch {
	case under(dir, "proto") && ours:
		return "proto knows nothing but the protobuf runtime"
	case under(dir, "pkg") && ours && under(own, "services", "test"):
		return "pkg knows nothing of any stage"
	case under(path, "github.com/nats-io/nats-server", "github.com/nats-io/nats-server/v2") && !under(dir, "pkg/bus/embedded", "pkg/bus/bustest"):
		return "only pkg/bus/embedded and pkg/bus/bustest run a server"
	case under(path, "github.com/nats-io", "github.com/synadia-io") && !under(dir, "pkg/bus"):
		return "only pkg/bus speaks NATS"
	case ours && under(own, "test") && !under(dir, "test"):
		return "nothing imports tests"
	}
	for _, stage := range stages {
		if !under(dir, "services/"+stage) || !ours || !under(own, "services") || under(own, "services/"+stage) {
			continue
		}
		return "stages meet on the bus, never by import"
	}
	return ""
}

// allowed are the stand-ins that tests of a stage run against: they are the
// outside systems, not stages.
func allowed(s source, path string) bool {
	own, _ := strings.CutPrefix(path, module)
	return s.test && under(own, "services/tapsim", "services/devosink")
}

func TestImports(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t).sources {
		for _, path := range s.imports {
			if why := forbidden(s.dir, path); why != "" && !allowed(s, path) {
				t.Errorf("%s imports %s: %s", s.path, path, why)
			}
		}
	}
}

// TestImportRulesBite shows each rule failing.
func TestImportRulesBite(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{
		{"proto/gen/tapline/v1", module + "pkg/feed"},
		{"pkg/quota", module + "services/fetcher"},
		{"pkg/bus", "github.com/nats-io/nats-server/v2/server"},
		{"services/tapline", "github.com/nats-io/nats.go"},
		{"services/shipper", "github.com/synadia-io/orbit.go/jetstreamext"},
		{"services/tapline", module + "test/e2e"},
		{"services/scheduler/internal/plan", module + "services/fetcher"},
		{"services/fetcher", module + "services/scheduler"},
		{"services/enricher/cmd/enricher", module + "services/shipper"},
		{"services/shipper", module + "services/tapline"},
		{"services/shipper", module + "services/devosink"},
	} {
		if forbidden(c[0], c[1]) == "" {
			t.Errorf("%s may import %s", c[0], c[1])
		}
	}
	for _, c := range [][2]string{
		{"services/fetcher", module + "services/fetcher/internal/seen"},
		{"services/fetcher", module + "pkg/bus"},
		{"services/tapline", module + "services/fetcher"},
		{"pkg/bus", "github.com/nats-io/nats.go/jetstream"},
		{"pkg/bus/embedded", "github.com/nats-io/nats-server/v2/server"},
	} {
		if why := forbidden(c[0], c[1]); why != "" {
			t.Errorf("%s may not import %s: %s", c[0], c[1], why)
		}
	}
}
