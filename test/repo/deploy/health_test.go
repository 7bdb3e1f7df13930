package deploy_test

import (
	"regexp"
	"testing"
)

// TestNATSIsHealthyOnlyWhenItCanBeWritten: of the paths of the server's health only the plain one
// looks at its streams.
func TestNATSIsHealthyOnlyWhenItCanBeWritten(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"docker-compose.yml", "deploy/cluster.yml", "deploy/k8s/nats/nats.yaml"} {
		probes := regexp.MustCompile(`:8222(/[^"]*)"`).FindAllStringSubmatch(read(t, file), -1)
		if len(probes) == 0 {
			t.Errorf("%s: nothing asks the server for its health", file)
		}
		for _, probe := range probes {
			if probe[1] != "/healthz" {
				t.Errorf("%s asks %s, which says nothing of streams", file, probe[1])
			}
		}
	}
}
