//go:build compose

package compose_test

import (
	"strings"
	"testing"
	"time"
)

// TestCluster takes away one of three NATS servers after another while records arrive.
func TestCluster(t *testing.T) {
	t.Parallel()
	s := newBusy(t, "tapline-test-cluster", "docker-compose.yml", "deploy/cluster.yml")
	t.Logf("healthy after %s", s.up("nats-2", "nats-3").Round(time.Second))
	a := newAccount(s)
	s.inject(slow)
	for _, node := range []string{"nats", "nats-3"} {
		before := s.progress()
		id := s.containers(node)[0]
		docker(t, "kill", id)
		poll(t, "work without "+node, func() bool { return s.progress() > before })
		pause(t, 5*time.Second)
		docker(t, "start", id)
		poll(t, node+" to be healthy again", func() bool {
			return docker(t, "inspect", "-f", "{{.State.Health.Status}}", id) == "healthy"
		})
	}
	s.heal()
	a.settle("after losing one server, then another")
	verify(s)
}

// progress counts the calls for records that were answered.
func (s *stack) progress() float64 {
	return s.counter(s.containers("fetcher")[0], "tapline_fetcher_calls_total")
}

// TestBadSettings: everything that is wrong is said once, and nothing starts.
func TestBadSettings(t *testing.T) {
	s := newStack(t, "tapline-test-bad", nil, "TAPLINE_SECRETS=./secrets-tapline-test-bad", "TAPLINE_DEVO=./secrets-tapline-test-bad/devo", "TAPLINE_ENV=bad.env")
	s.args = []string{"--env-file", "bad.env"}
	s.initSecrets()
	write(t, s.dir+"/bad.env", "SINK=devo\nSTREAM_REPLICAS=2\nTAP_START_TIME=soon\nDEVO_ADDRESS=nowhere\n")
	out, err := s.try("up", "--detach")
	if err == nil || !strings.Contains(out, "check") {
		t.Errorf("docker compose up: %v: %s", err, out)
	}
	said := s.compose("logs", "--no-color", "check")
	for _, name := range []string{"TAP_PRINCIPAL", "TAP_SECRET", "TAP_START_TIME", "STREAM_REPLICAS", "DEVO_ADDRESS", "DEVO_CHAIN_FILE", "DEVO_CERT_FILE", "DEVO_KEY_FILE"} {
		if strings.Count(said, name) != 1 {
			t.Errorf("%s is named %d times in %s", name, strings.Count(said, name), said)
		}
	}
	for _, service := range services[:5] {
		for id := range strings.FieldsSeq(s.compose("ps", "--all", "--quiet", service)) {
			if state := docker(t, "inspect", "-f", "{{.State.Status}}", id); state != "created" {
				t.Errorf("%s is %s", service, state)
			}
		}
	}
}
