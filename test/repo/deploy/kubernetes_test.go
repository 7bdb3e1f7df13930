package deploy_test

import (
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tapline/tapline/test/repo/reference"
)

// TestManifestsAreWhole: the example builds, every object is of a known shape, and
// everything that one refers to is there.
func TestManifestsAreWhole(t *testing.T) {
	t.Parallel()
	c := build(t)
	if len(c.workloads) != 7 || len(c.budgets) != 4 || len(c.policies) < 4 || len(c.scaled) != 2 {
		t.Errorf("%d workloads, %d budgets, %d policies, %d scaled objects", len(c.workloads), len(c.budgets), len(c.policies), len(c.scaled))
	}
	if want := map[string]bool{"tapline": true}; !maps.Equal(c.namespaces, want) {
		t.Errorf("objects are in the namespaces %v", c.namespaces)
	}
	for _, w := range c.workloads {
		if w.selector != nil && !labels.SelectorFromSet(w.selector).Matches(labels.Set(w.template.Labels)) {
			t.Errorf("%s selects %v, its pods have %v", w.name, w.selector, w.template.Labels)
		}
		c.checkVolumes(t, w)
	}
	for _, s := range c.services {
		pods := c.selected(&metav1.LabelSelector{MatchLabels: s.Spec.Selector})
		for _, p := range s.Spec.Ports {
			if !slices.ContainsFunc(pods, func(w workload) bool { return hasPort(w, p.TargetPort) }) {
				t.Errorf("service %s: no pod it selects has port %s", s.Name, p.TargetPort.String())
			}
		}
	}
	for _, b := range c.budgets {
		pods := c.selected(b.Spec.Selector)
		if len(pods) != 1 || int(pods[0].replicas) <= b.Spec.MinAvailable.IntValue() {
			t.Errorf("budget %s keeps %s of %v: no node could be drained", b.Name, b.Spec.MinAvailable, pods)
		}
	}
	for _, s := range c.scaled {
		if !slices.ContainsFunc(c.workloads, func(w workload) bool { return w.kind == "Deployment" && w.name == s.Spec.ScaleTargetRef.Name }) {
			t.Errorf("%s scales %q, which does not exist", s.Name, s.Spec.ScaleTargetRef.Name)
		}
		for _, trigger := range s.Spec.Triggers {
			selectors, _ := reference.Selectors(trigger.Metadata.Query)
			if len(selectors) != 1 || !isMetric(t, selectors[0].Metric) {
				t.Errorf("%s asks for %q", s.Name, trigger.Metadata.Query)
			}
		}
	}
}

func isMetric(t *testing.T, name string) bool {
	t.Helper()
	all, err := reference.Metrics(root)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(all, func(m reference.Metric) bool { return m.Name == name })
}

// selected are the workloads whose pods a selector means.
func (c *cluster) selected(by *metav1.LabelSelector) []workload {
	selector, err := metav1.LabelSelectorAsSelector(by)
	if err != nil {
		return nil
	}
	var found []workload
	for _, w := range c.workloads {
		if selector.Matches(labels.Set(w.template.Labels)) {
			found = append(found, w)
		}
	}
	return found
}

func hasPort(w workload, port intstr.IntOrString) bool {
	for _, c := range w.template.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == port.StrVal && port.StrVal != "" || p.ContainerPort == port.IntVal {
				return true
			}
		}
	}
	return false
}

// checkVolumes: mounts have volumes, and volumes have what they are made of.
func (c *cluster) checkVolumes(t *testing.T, w workload) {
	t.Helper()
	names := map[string]bool{}
	for _, v := range w.template.Spec.Volumes {
		names[v.Name] = true
		for _, s := range secretsOf(v) {
			if c.secrets[s] == nil {
				t.Errorf("%s: volume %s is secret %q, which does not exist", w.name, v.Name, s)
			}
		}
		for _, m := range configMapsOf(v) {
			if c.configMaps[m] == nil {
				t.Errorf("%s: volume %s is config map %q, which does not exist", w.name, v.Name, m)
			}
		}
	}
	for _, claim := range w.claims {
		names[claim.Name] = true
	}
	for _, mount := range w.template.Spec.Containers[0].VolumeMounts {
		if !names[mount.Name] {
			t.Errorf("%s mounts %s, which is no volume", w.name, mount.Name)
		}
		delete(names, mount.Name)
	}
	if len(names) > 0 {
		t.Errorf("%s has volumes that nobody mounts: %v", w.name, names)
	}
}

func secretsOf(v corev1.Volume) []string {
	var names []string
	if v.Secret != nil {
		names = append(names, v.Secret.SecretName)
	}
	if v.Projected != nil {
		for _, s := range v.Projected.Sources {
			if s.Secret != nil {
				names = append(names, s.Secret.Name)
			}
		}
	}
	return names
}

func configMapsOf(v corev1.Volume) []string {
	var names []string
	if v.ConfigMap != nil {
		names = append(names, v.ConfigMap.Name)
	}
	if v.Projected != nil {
		for _, s := range v.Projected.Sources {
			if s.ConfigMap != nil {
				names = append(names, s.ConfigMap.Name)
			}
		}
	}
	return names
}

// TestPodsAreHardened: no root, no writable root, no rights, bounded memory, probes.
func TestPodsAreHardened(t *testing.T) {
	t.Parallel()
	for _, w := range build(t).workloads {
		spec := w.template.Spec
		if len(spec.Containers) != 1 || len(spec.InitContainers) > 0 && w.name != "nats" {
			t.Fatalf("%s: want one container", w.name)
		}
		c, pod := spec.Containers[0], spec.SecurityContext
		if pod == nil || pod.RunAsNonRoot == nil || !*pod.RunAsNonRoot || pod.RunAsUser == nil || *pod.RunAsUser != 65532 ||
			pod.SeccompProfile == nil || pod.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			t.Errorf("%s: security context of the pod is %+v", w.name, pod)
		}
		for _, c := range append(spec.InitContainers, c) {
			checkContainer(t, w.name+" "+c.Name, c)
		}
		if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
			t.Errorf("%s gets a token of the cluster", w.name)
		}
		if w.kind == "Deployment" {
			checkProbe(t, w, c.LivenessProbe, "/livez")
			checkProbe(t, w, c.StartupProbe, "/livez")
			checkProbe(t, w, c.ReadinessProbe, "/readyz")
		}
	}
}

func checkContainer(t *testing.T, name string, c corev1.Container) {
	t.Helper()
	own := c.SecurityContext
	if own == nil || own.ReadOnlyRootFilesystem == nil || !*own.ReadOnlyRootFilesystem || own.AllowPrivilegeEscalation == nil ||
		*own.AllowPrivilegeEscalation || own.Capabilities == nil || !slices.Equal(own.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Errorf("%s: security context of the container is %+v", name, own)
	}
	if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() {
		t.Errorf("%s: resources are %+v", name, c.Resources)
	}
}

func checkProbe(t *testing.T, w workload, probe *corev1.Probe, want string) {
	t.Helper()
	if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != want || !hasPort(w, probe.HTTPGet.Port) {
		t.Errorf("%s: probe %+v, want %s at a port that exists", w.name, probe, want)
	}
}

// TestPodsAreConfigured: each program accepts the environment that its pod gives it, with
// the secrets as files, and knows every variable that is set for it alone.
func TestPodsAreConfigured(t *testing.T) {
	t.Parallel()
	c := build(t)
	programs := map[string]reference.Program{}
	for _, p := range reference.Programs() {
		programs["tapline/"+p.Name] = p
	}
	checked := 0
	for _, w := range c.workloads {
		container := w.template.Spec.Containers[0]
		image, tag, _ := strings.Cut(container.Image, ":")
		p, ours := programs[image]
		if tag == "" || tag == "latest" || !ours && image != "nats" {
			t.Errorf("%s: image %q, want one of ours or NATS, with a tag", w.name, container.Image)
		}
		if !ours {
			continue
		}
		checked++
		environ := c.environ(t, w, p, programs)
		if err := p.Check(environ); err != nil {
			t.Errorf("%s refuses its configuration: %v", w.name, err)
		}
	}
	if checked != 6 {
		t.Errorf("checked %d programs", checked)
	}
}

// ofGo are variables that the runtime of Go reads.
var ofGo = []string{"GOMEMLIMIT"}

// environ is what a pod sets, with its secrets as files below a directory of the test.
func (c *cluster) environ(t *testing.T, w workload, p reference.Program, programs map[string]reference.Program) []string {
	t.Helper()
	container, dir := w.template.Spec.Containers[0], t.TempDir()
	for _, mount := range container.VolumeMounts {
		for _, v := range w.template.Spec.Volumes {
			if v.Name == mount.Name && v.Secret != nil {
				for key, data := range c.secrets[v.Secret.SecretName] {
					write(t, filepath.Join(dir, mount.MountPath, key), data)
				}
			}
		}
	}
	var environ []string
	for _, from := range container.EnvFrom {
		for name, value := range c.configMaps[from.ConfigMapRef.Name] {
			environ = append(environ, name+"="+value)
			if !slices.ContainsFunc(slices.Collect(maps.Values(programs)), func(p reference.Program) bool { return p.Accepts(name) }) {
				t.Errorf("%s is set for all, and no program reads it", name)
			}
			if name == "HTTP_ADDR" && w.kind == "Deployment" && !hasPort(w, intstr.Parse(strings.TrimPrefix(value, ":"))) {
				t.Errorf("%s: HTTP_ADDR=%s is not its port", w.name, value)
			}
		}
	}
	for _, e := range container.Env {
		if !p.Accepts(e.Name) && !slices.Contains(ofGo, e.Name) {
			t.Errorf("%s: %s is set, and %s does not read it", w.name, e.Name, p.Name)
		}
		if path.IsAbs(e.Value) && strings.HasPrefix(e.Value, "/run/secrets/") {
			e.Value = filepath.Join(dir, e.Value)
		}
		environ = append(environ, e.Name+"="+e.Value)
	}
	return environ
}
