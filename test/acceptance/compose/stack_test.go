//go:build compose

package compose_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const version = "compose-test"

// patience bounds every wait; only a failing test takes so long.
const patience = 8 * time.Minute

// run runs a program to its end. It is bounded, and works while a test is cleaning up, too.
func run(dir string, env []string, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), env...)
	return cmd.CombinedOutput()
}

// clone is a clean clone of this repository, with its images built.
var clone = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "tapline-compose-")
	if err != nil {
		return "", err
	}
	if out, err := run(".", nil, "git", "clone", "--quiet", "../../..", dir); err != nil {
		return dir, fmt.Errorf("git clone: %w: %s", err, out)
	}
	if out, err := run(dir, []string{"TAPLINE_VERSION=" + version}, "docker", "compose", "--profile", "demo", "--profile", "tools", "build"); err != nil {
		return dir, fmt.Errorf("docker compose build: %w: %s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	m.Run()
	if dir, err := clone(); err == nil {
		_ = os.RemoveAll(dir)
	}
}

// stack is a project of docker compose.
type stack struct {
	t     *testing.T
	dir   string
	name  string
	args  []string
	env   []string
	began time.Time
}

// newStack prepares a project in a clean clone; what it starts ends with the test.
func newStack(t *testing.T, name string, files []string, env ...string) *stack {
	t.Helper()
	dir, err := clone()
	if err != nil {
		t.Fatal(err)
	}
	s := &stack{t: t, dir: dir, name: name, began: time.Now()}
	for _, f := range files {
		s.args = append(s.args, "-f", f)
	}
	s.args = append(s.args, "--profile", "demo", "--profile", "tools", "--env-file", "deploy/demo.env")
	s.env = append([]string{
		"COMPOSE_PROJECT_NAME=" + name, "TAPLINE_VERSION=" + version, "TAPSIM_PORT=0", "DEVOSINK_PORT=0", "COMPOSE_PROGRESS=quiet",
	}, env...)
	down := func() {
		if out, err := s.try("down", "--volumes", "--remove-orphans", "--timeout", "20"); err != nil {
			t.Errorf("down: %v: %s", err, out)
		}
	}
	down() // a run that was interrupted leaves its volumes
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := s.try("ps", "-a")
			t.Logf("%s", out)
			// What ended comes last: the end of the output is what is kept of a long one.
			for _, services := range [][]string{{}, {"check", "setup"}} {
				out, _ = s.try(append([]string{"logs", "--no-color", "--tail", "60"}, services...)...)
				t.Logf("%s", out)
			}
		}
		down()
	})
	return s
}

// try runs docker compose; output is both streams.
func (s *stack) try(args ...string) (string, error) {
	out, err := run(s.dir, s.env, "docker", append(append([]string{"compose"}, s.args...), args...)...)
	return string(out), err
}

// compose runs docker compose and expects success.
func (s *stack) compose(args ...string) string {
	s.t.Helper()
	out, err := s.try(args...)
	if err != nil {
		s.t.Fatalf("docker compose %v: %v\n%s", args, err, out)
	}
	return out
}

// docker runs docker and expects success.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := run(".", nil, "docker", args...)
	if err != nil {
		t.Fatalf("docker %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// services are what runs all the time; check, setup and the like end by themselves.
var services = []string{"nats", "scheduler", "fetcher", "enricher", "shipper", "tapsim", "devosink"}

// up starts everything and waits until it is healthy.
func (s *stack) up(args ...string) time.Duration {
	s.t.Helper()
	begin := time.Now()
	s.compose(append(append([]string{"up", "--detach", "--wait", "--wait-timeout", "120"}, args...), services...)...)
	return time.Since(begin)
}

// containers of a service, by id.
func (s *stack) containers(service string) []string {
	s.t.Helper()
	return strings.Fields(s.compose("ps", "--quiet", service))
}

// get asks a container over the network that it shares with this machine.
func (s *stack) get(container, path string) ([]byte, error) {
	return s.call(container, http.MethodGet, path, "")
}

// call makes a request to a container: the path begins with the port.
func (s *stack) call(container, method, path, body string) ([]byte, error) {
	addresses := strings.Fields(docker(s.t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", container))
	if len(addresses) == 0 {
		return nil, fmt.Errorf("container %s has no address", container)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+addresses[0]+":"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= http.StatusMultipleChoices {
		err = fmt.Errorf("%s: %s", path, resp.Status)
	}
	return data, err
}

// ask is get for the only container of a service.
func (s *stack) ask(service, path string) []byte {
	s.t.Helper()
	data, err := s.get(s.containers(service)[0], path)
	if err != nil {
		s.t.Fatal(err)
	}
	return data
}

// inject has the stand-in for Proofpoint misbehave.
func (s *stack) inject(fault string) {
	s.t.Helper()
	if _, err := s.call(s.containers("tapsim")[0], http.MethodPost, "8081/_sim/faults", fault); err != nil {
		s.t.Fatalf("inject %s: %v", fault, err)
	}
}

// heal ends all that inject began.
func (s *stack) heal() {
	s.t.Helper()
	if _, err := s.call(s.containers("tapsim")[0], http.MethodDelete, "8081/_sim/faults", ""); err != nil {
		s.t.Fatalf("heal: %v", err)
	}
}

// counter adds up the series of a counter in one container; -1 if it cannot be asked.
func (s *stack) counter(container, name string) float64 {
	data, err := s.get(container, "9090/metrics")
	if err != nil {
		return -1
	}
	total := 0.0
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, name+"{") || strings.HasPrefix(line, name+" ") {
			var v float64
			_, _ = fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &v)
			total += v
		}
	}
	return total
}

// tapctl runs it as an operator would, and returns what it says.
func (s *stack) tapctl(args ...string) (string, error) {
	return s.try(append([]string{"run", "--rm", "--no-deps", "-T", "tapctl"}, args...)...)
}

// poll checks again and again until it is content or patience ends.
func poll(t *testing.T, what string, check func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for !check() {
		select {
		case <-ctx.Done():
			t.Fatalf("after %s still waiting for: %s", patience, what)
		case <-tick.C:
		}
	}
}

// pause waits while an outage lasts.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-t.Context().Done():
	case <-timer.C:
	}
}

// initSecrets writes random secrets as make init does.
func (s *stack) initSecrets(args ...string) {
	s.t.Helper()
	if out, err := run(s.dir, s.env, filepath.Join(s.dir, "deploy/init.sh"), args...); err != nil {
		s.t.Fatalf("init: %v: %s", err, out)
	}
}

func decode(t *testing.T, data []byte, v any) {
	t.Helper()
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(v); err != nil {
		t.Fatalf("%v in %.300s", err, data)
	}
}
