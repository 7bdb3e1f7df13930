//go:build compose

package compose_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/services/devosink/devocert"
	"github.com/tapline/tapline/services/tapsim"
)

// busy reads six days of backfill, one call for each hour, which takes a while. There are few
// records: each comparison reads all.
const busy = `
TAP_START_TIME=6d
TAP_POLL_INTERVAL=30s
EXPAND_RATE=100
TAPSIM_AGE=143h
TAPSIM_RATE=0.06
`

// slow makes each call for records take a second.
const slow = `{"kind":"slow","delay":"1s","path":"/v2/siem/all"}`

// newBusy prepares a project with secrets of its own.
func newBusy(t *testing.T, name string, files ...string) *stack {
	t.Helper()
	s := newBusyWithout(t, name, files...)
	s.initSecrets()
	write(t, s.secret("tap_secret"), "proofpoints-first-secret")
	s.certify()
	return s
}

// newBusyWithout prepares one whose secrets are not made yet.
func newBusyWithout(t *testing.T, name string, files ...string) *stack {
	t.Helper()
	secrets := "secrets-" + name
	s := newStack(t, name, files,
		"TAPLINE_SECRETS=./"+secrets, "TAPLINE_DEVO=./"+secrets+"/devo", "TAPLINE_ENV="+name+".env")
	demo, err := os.ReadFile(filepath.Join(s.dir, "deploy/demo.env"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(s.dir, name+".env"), string(demo)+busy)
	return s
}

func (s *stack) secret(name string) string {
	return filepath.Join(s.dir, "secrets-"+s.name, name)
}

// write changes a file in place, as one that is mounted into a container has to be changed.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// certify makes new certificates for the sink and the shipper.
func (s *stack) certify() {
	s.t.Helper()
	set, err := devocert.New(devocert.Options{Names: []string{"devosink"}})
	if err != nil {
		s.t.Fatal(err)
	}
	files := devocert.In(s.secret("devo"))
	for path, data := range map[string][]byte{
		files.Chain: set.Chain, files.ServerCert: set.ServerCert, files.ServerKey: set.ServerKey, files.ClientCert: set.ClientCert, files.ClientKey: set.ClientKey,
	} {
		write(s.t, path, string(data))
	}
}

// TestLoad scales, kills, pauses, cuts off and changes every secret while six days are read, and
// expects that nothing is missing.
func TestLoad(t *testing.T) {
	t.Parallel()
	s := newBusy(t, "tapline-test-load")
	t.Logf("healthy after %s", s.up().Round(time.Second))
	a := newAccount(s)
	s.inject(slow)

	s.compose("up", "--detach", "--no-recreate", "--scale", "fetcher=3", "--scale", "shipper=3", "fetcher", "shipper")
	s.spread("fetcher", "tapline_fetcher_calls_total")
	s.spread("shipper", "tapline_shipper_events_confirmed_total")

	for _, service := range []string{"fetcher", "shipper", "enricher", "scheduler", "nats", "fetcher", "shipper"} {
		id := s.containers(service)[0]
		docker(t, "kill", id)
		pause(t, 2*time.Second)
		docker(t, "start", id)
		pause(t, 2*time.Second)
	}
	for _, service := range []string{"fetcher", "shipper", "enricher"} {
		docker(t, "pause", s.containers(service)[0])
	}
	pause(t, 20*time.Second) // longer than STREAM_ACK_WAIT: others take over what they had in hand
	for _, service := range []string{"fetcher", "shipper", "enricher"} {
		docker(t, "unpause", s.containers(service)[0])
	}
	sink := s.containers("devosink")[0]
	docker(t, "network", "disconnect", s.name+"_outside", sink)
	pause(t, 25*time.Second)
	docker(t, "network", "connect", "--alias", "devosink", s.name+"_outside", sink)

	s.compose("up", "--detach", "--no-recreate", "--scale", "fetcher=1", "--scale", "shipper=1", "fetcher", "shipper")
	a.settle("after scaling, killing, pausing and cutting off")
	verify(s)
	var st tapsim.Status
	decode(t, s.ask("tapsim", "8081/_sim/status"), &st)
	for pool, q := range st.Quota {
		if q.Refused > 0 || q.Used > q.Limit {
			t.Errorf("pool %s: %d of %d calls, %d refused", pool, q.Used, q.Limit, q.Refused)
		}
	}
	t.Logf("calls for records: %d of %d", st.Quota["siem"].Used, st.Quota["siem"].Limit)

	s.replay(a)
	s.guards()
	s.rotate(a)
	s.leaks()
}

// spread waits until every replica of a service has done something.
func (s *stack) spread(service, counter string) {
	s.t.Helper()
	poll(s.t, "work for every "+service, func() bool {
		replicas := s.containers(service)
		for _, id := range replicas {
			if s.counter(id, counter) <= 0 {
				return false
			}
		}
		return len(replicas) == 3
	})
}

// guards tries to do the admin's work as each service, on the server as it was started.
func (s *stack) guards() {
	s.t.Helper()
	for _, user := range []string{"scheduler", "fetcher", "enricher", "shipper", "admin"} {
		out, err := run(".", nil, "docker", "run", "--rm", "--network", s.name+"_bus", "-v", s.secret("nats/"+user)+":/password:ro",
			"-e", "NATS_URL=nats://nats:4222", "-e", "NATS_USER="+user, "-e", "NATS_PASSWORD_FILE=/password", "tapline/tapctl:"+version, "setup")
		if (err == nil) != (user == "admin") {
			s.t.Errorf("tapctl setup as %s: %v: %s", user, err, out)
		}
	}
}

// rotate changes every kind of secret as docs/install.md says, while records arrive.
func (s *stack) rotate(a *account) {
	s.t.Helper()
	started := s.started()
	s.initSecrets("rotate", "fetcher", "shipper", "scheduler", "enricher", "admin")
	s.compose("kill", "--signal", "HUP", "nats")
	poll(s.t, "the old password of the admin to be refused", func() bool { _, err := s.tapctl("status", "--exit-zero"); return err == nil })
	a.settle("after new passwords for NATS")

	a.drain()
	s.certify()
	s.compose("restart", "devosink") // what Devo does at its end
	s.compose("start", "fetcher")
	a.settle("after new certificates for Devo")
	if now := s.started(); now != started {
		s.t.Errorf("a service was restarted, though nothing but files had changed: %s, before %s", now, started)
	}

	write(s.t, s.secret("tap_secret"), "proofpoints-second-secret")
	s.compose("restart", "tapsim", "fetcher")
	a.settle("after a new secret of Proofpoint")
	verify(s)
}

// started says when the services began that are not to be restarted.
func (s *stack) started() string {
	s.t.Helper()
	var ids []string
	for _, service := range []string{"nats", "scheduler", "enricher", "shipper"} {
		ids = append(ids, s.containers(service)...)
	}
	return docker(s.t, append([]string{"inspect", "-f", "{{.Name}} {{.State.StartedAt}} {{.RestartCount}};"}, ids...)...)
}

// leaks looks for secrets where they do not belong.
func (s *stack) leaks() {
	s.t.Helper()
	secrets := []string{"proofpoints-first-secret", "proofpoints-second-secret"}
	for _, user := range []string{"admin", "scheduler", "fetcher", "enricher", "shipper", "sys"} {
		data, err := os.ReadFile(s.secret("nats/" + user))
		if err != nil || len(data) < 40 {
			s.t.Fatalf("password of %s: %d bytes, %v", user, len(data), err)
		}
		secrets = append(secrets, strings.TrimSpace(string(data)))
	}
	search := func(where string, data []byte) {
		for _, secret := range secrets {
			if bytes.Contains(data, []byte(secret)) {
				s.t.Errorf("a secret stands in %s", where)
			}
		}
	}
	ids := strings.Fields(s.compose("ps", "--all", "--quiet"))
	if len(ids) < 9 {
		s.t.Errorf("only %d containers", len(ids))
	}
	search("docker inspect", []byte(docker(s.t, append([]string{"inspect"}, ids...)...)))
	search("the logs", []byte(s.compose("logs", "--no-color")))
	for _, name := range []string{"scheduler", "fetcher", "enricher", "shipper", "tapctl", "tapsim", "devosink"} {
		out, err := run(".", nil, "docker", "save", "tapline/"+name+":"+version)
		if err != nil || len(out) < 1<<20 {
			s.t.Fatalf("docker save %s: %d bytes, %v", name, len(out), err)
		}
		search("image "+name, out)
	}
}
