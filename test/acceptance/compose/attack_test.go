//go:build compose

package compose_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/attack"
)

// TestAttack attacks the NATS server of docker-compose.yml with the password of each stage. The
// stages are stopped, so that whatever changes is the attacker's doing.
func TestAttack(t *testing.T) {
	t.Parallel()
	const settings = "attack.env"
	s := newStack(t, "tapline-test-attack", nil, "TAPLINE_ENV="+settings)
	demo, err := os.ReadFile(filepath.Join(s.dir, "deploy/demo.env"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(s.dir, settings), string(demo)+"\nSTREAM_ACK_WAIT=10m\n") // no message comes back during an attack
	s.up()
	s.compose("stop", "scheduler", "fetcher", "enricher", "shipper")
	address := strings.Fields(docker(t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", s.containers("nats")[0]))[0]
	system := func(user string) bus.Config { return s.user(address, user) }
	if err := attack.Prepare(t.Context(), system); err != nil {
		t.Fatal(err)
	}
	for _, u := range bus.Users()[1:] {
		breaches, err := attack.Run(t.Context(), system, u)
		if err != nil {
			t.Fatalf("%s: %v", u.Name, err)
		}
		for _, b := range breaches {
			t.Errorf("%s: %s", u.Name, b)
		}
		s.compose("restart", "nats") // so that no pull of this user waits while the next one attacks
		s.compose("up", "--detach", "--no-deps", "--wait", "nats")
	}
}
