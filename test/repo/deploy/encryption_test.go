package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/tapline/tapline/pkg/bus/embedded"
)

// TestKeyOfTheStore: what deploy/init.sh writes is what the NATS server, tapctl seal and tapctl
// check read, and a key that may still be in use is never overwritten.
func TestKeyOfTheStore(t *testing.T) {
	t.Parallel()
	site := t.TempDir()
	if err := os.CopyFS(filepath.Join(site, "deploy"), os.DirFS(filepath.Join(root, "deploy"))); err != nil {
		t.Fatal(err)
	}
	initialize := func(args ...string) error {
		cmd := exec.CommandContext(t.Context(), "sh", append([]string{filepath.Join(site, "deploy", "init.sh")}, args...)...)
		return cmd.Run()
	}
	keys := func(args ...string) embedded.Keys {
		t.Helper()
		if err := initialize(args...); err != nil {
			t.Fatal(err)
		}
		k, err := embedded.ServerKeys(filepath.Join(site, "secrets", "nats", "encryption.conf"))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	if k := keys(); k.Key != "" {
		t.Error("streams are encrypted unasked")
	}
	first := keys("encrypt")
	if first.Key == "" || first.Previous != "" || keys() != first {
		t.Error("no key, or it does not stay")
	}
	second := keys("encrypt")
	if second.Key == first.Key || second.Previous != first.Key {
		t.Error("the key was not replaced, or the one before is gone")
	}
	if err := initialize("encrypt"); err == nil || keys() != second {
		t.Errorf("a key that may still be in use: %v", err)
	}
	if k := keys("forget"); k.Key != second.Key || k.Previous != "" {
		t.Error("the key before is not forgotten, or the key is")
	}
	forgotten := filepath.Join(site, "secrets", "nats", "encryption.forgotten")
	kept, err := os.ReadFile(forgotten)
	if err != nil || !strings.Contains(string(kept), first.Key.Reveal()) {
		t.Errorf("the key before is gone for good: %v", err)
	}
	if info, err := os.Stat(forgotten); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	keys("forget")
	if again, err := os.ReadFile(forgotten); err != nil || string(again) != string(kept) {
		t.Errorf("what is kept changed although there was nothing to forget: %v", err)
	}
	server, err := os.ReadFile(filepath.Join(root, "deploy", "nats", "nats.conf"))
	if err != nil || !strings.Contains(string(server), "  include ./encryption.conf\n}") {
		t.Errorf("the NATS server does not read the key: %v", err)
	}
}

// TestEachStartIsGuarded: wherever a NATS server of ours starts, deploy/nats/start.sh comes first,
// with the key and the store that it compares; so a restart of a container goes around nothing.
func TestEachStartIsGuarded(t *testing.T) {
	t.Parallel()
	guard := []string{"/bin/sh", "/etc/nats/start.sh"}
	c := build(t)
	i := slices.IndexFunc(c.workloads, func(w workload) bool { return w.name == "nats" })
	pod := c.workloads[i].template.Spec
	server, seal := pod.Containers[0], pod.InitContainers[0]
	if !slices.Equal(server.Command, guard) {
		t.Errorf("the pod starts with %q", server.Command)
	}
	if !slices.Equal(seal.Args, []string{"seal", "/data", "--encryption", "/etc/nats/encryption.conf"}) || !reflect.DeepEqual(seal.VolumeMounts, server.VolumeMounts) {
		t.Errorf("what seals the store has %v and %v, the server %v", seal.Args, seal.VolumeMounts, server.VolumeMounts)
	}
	have := make(map[string]bool)
	for _, v := range pod.Volumes {
		for _, source := range v.Projected.Sources {
			switch {
			case source.ConfigMap != nil:
				for name := range c.configMaps[source.ConfigMap.Name] {
					have[name] = true
				}
			case len(source.Secret.Items) == 0:
				for name := range c.secrets[source.Secret.Name] {
					have[name] = true
				}
			}
		}
	}
	if !have["start.sh"] || !have["encryption.conf"] {
		t.Errorf("/etc/nats has %v", have)
	}
	for file, servers := range map[string]int{"docker-compose.yml": 1, "deploy/cluster.yml": 1} { // an anchor stands for two of a cluster
		text := read(t, file)
		for _, want := range []string{
			"entrypoint: [" + strings.Join(guard, ", ") + "]", "{source: nats_start, target: /etc/nats/start.sh}", "{source: nats_encryption, target: /etc/nats/encryption.conf}",
		} {
			if n := strings.Count(text, want); n != servers {
				t.Errorf("%s has %d times %s, want %d", file, n, want, servers)
			}
		}
		if strings.Contains(text, "[nats-server]") {
			t.Errorf("%s starts a server without its guard", file)
		}
	}
}
