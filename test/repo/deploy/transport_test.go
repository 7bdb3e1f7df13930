package deploy_test

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
)

// TestPodsReachNATSEncrypted runs a server with the configuration and the secrets of its pod, and
// connects as the pods of the stages are configured to.
func TestPodsReachNATSEncrypted(t *testing.T) {
	t.Parallel()
	c := build(t)
	i := slices.IndexFunc(c.workloads, func(w workload) bool { return w.name == "nats" })
	pod := c.workloads[i].template.Spec
	if args := pod.Containers[0].Args; !slices.Equal(args, []string{"--config", "/etc/nats/tls.conf"}) {
		t.Errorf("the server runs with %v", args)
	}
	dir := t.TempDir()
	for _, v := range pod.Volumes {
		for _, source := range v.Projected.Sources {
			if source.ConfigMap != nil {
				for name, text := range c.configMaps[source.ConfigMap.Name] {
					write(t, filepath.Join(dir, name), []byte(text))
				}
			} else {
				for _, item := range source.Secret.Items {
					write(t, filepath.Join(dir, item.Path), c.secrets[source.Secret.Name][item.Key])
				}
			}
		}
	}
	server := bustest.StartEncrypted(t, dir, filepath.Join(dir, "tls"))
	var shared map[string]string
	for name, data := range c.configMaps {
		if strings.HasPrefix(name, "tapline-") {
			shared = data
		}
	}
	if shared["NATS_URL"] != "tls://nats:4222" {
		t.Errorf("NATS_URL is %q", shared["NATS_URL"])
	}
	for name, secret := range c.secrets {
		user, ok := strings.CutPrefix(name[:strings.LastIndexByte(name, '-')], "nats-")
		if !ok || secret["password"] == nil {
			continue
		}
		config := server.As(user)
		config.CAFile = filepath.Join(t.TempDir(), filepath.Base(shared["NATS_CA_FILE"]))
		write(t, config.CAFile, secret[filepath.Base(shared["NATS_CA_FILE"])])
		b, err := bus.Connect(t.Context(), config, user, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Errorf("%s: %v", user, err)
			continue
		}
		b.Close()
	}
}

// TestSecretsAreForTheirUserOnly: the kubelet lets the group of the pod read them besides
// (fsGroup).
func TestSecretsAreForTheirUserOnly(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, w := range build(t).workloads {
		for _, v := range w.template.Spec.Volumes {
			var mode *int32
			switch {
			case v.Secret != nil:
				mode = v.Secret.DefaultMode
			case v.Projected != nil:
				mode = v.Projected.DefaultMode
			default:
				continue
			}
			checked++
			if mode == nil || *mode != 0o400 {
				t.Errorf("%s: volume %s has mode %v", w.name, v.Name, mode)
			}
		}
	}
	if checked < 8 {
		t.Errorf("looked at %d volumes only", checked)
	}
}

// TestOnlyPodsOfTaplineReachNATS: nothing but the encrypted port, and nothing but from the stages.
func TestOnlyPodsOfTaplineReachNATS(t *testing.T) {
	t.Parallel()
	c := build(t)
	var into, out []networkingv1.NetworkPolicyPort
	for _, p := range c.policies {
		switch p.Name {
		case "nats":
			for _, rule := range p.Spec.Ingress {
				into = append(into, rule.Ports...)
				for _, from := range rule.From {
					if from.PodSelector == nil || from.PodSelector.MatchLabels["app.kubernetes.io/name"] != "tapline" {
						t.Errorf("NATS may be reached from %+v", from)
					}
				}
			}
		case "names-and-bus":
			for _, rule := range p.Spec.Egress {
				for _, to := range rule.To {
					if to.PodSelector != nil && to.PodSelector.MatchLabels["app.kubernetes.io/name"] == "nats" {
						out = append(out, rule.Ports...)
					}
				}
			}
		}
	}
	if len(into) != 1 || into[0].Port.StrVal != "client" || *into[0].Protocol != corev1.ProtocolTCP {
		t.Errorf("open at NATS: %+v", into)
	}
	if len(out) != 1 || out[0].Port.IntVal != 4222 {
		t.Errorf("stages reach NATS at %+v", out)
	}
}

// TestInitMakesCertificates: once, for the containers to read, and rotated on demand; without
// tapctl it says how to get them.
func TestInitMakesCertificates(t *testing.T) {
	t.Parallel()
	dir, tapctl := t.TempDir(), t.TempDir()
	compile := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", tapctl, "./services/tapctl/cmd/tapctl")
	compile.Dir = root
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"init.sh", "env.template"} {
		write(t, filepath.Join(dir, "deploy", name), []byte(read(t, filepath.Join("deploy", name))))
	}
	run := func(env []string, args ...string) string {
		t.Helper()
		command := exec.CommandContext(t.Context(), "sh", append([]string{"deploy/init.sh"}, args...)...)
		command.Dir = dir
		command.Env = append([]string{"PATH=/usr/bin:/bin"}, env...)
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("init %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	with := []string{"TAPCTL=" + filepath.Join(tapctl, "tapctl"), "NATS_NAMES=nats-a.example.org,192.0.2.7"}
	if out := run([]string{"TAPLINE_VERSION=of-no-image"}); !strings.Contains(out, "no certificates for NATS") {
		t.Errorf("without tapctl init says %s", out)
	}
	run(with)
	server := filepath.Join(dir, "secrets/nats/tls/server.pem")
	first, err := os.ReadFile(server)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{"secrets": 0o700 | os.ModeDir, "secrets/nats/ca.pem": 0o600, "secrets/nats/tls/server.pem": 0o644, "secrets/nats/ca/ca.crt": 0o644} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	run(with)
	if again, err := os.ReadFile(server); err != nil || string(again) != string(first) {
		t.Errorf("the second run replaced the certificate (%v)", err)
	}
	if out := run(with, "rotate", "server"); !strings.Contains(out, "new") {
		t.Errorf("rotate server says %s", out)
	}
	if again, err := os.ReadFile(server); err != nil || string(again) == string(first) {
		t.Errorf("the certificate is the one before (%v)", err)
	}
}
