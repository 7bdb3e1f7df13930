package deploy_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/tapline/tapline/pkg/authority"
	"github.com/tapline/tapline/services/devosink/devocert"
)

// scaledObject is what the manifests use of KEDA's, whose own types would bring a
// whole operator along.
type scaledObject struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		ScaleTargetRef  struct{ Name string }
		MinReplicaCount int
		MaxReplicaCount int
		PollingInterval int
		CooldownPeriod  int
		Fallback        struct{ FailureThreshold, Replicas int }
		Triggers        []trigger
	}
}

type trigger struct {
	Type       string
	MetricType string
	Metadata   struct{ ServerAddress, Query, Threshold string }
}

// workload is a pod template and what runs it.
type workload struct {
	kind, name string
	selector   map[string]string // nil for a job
	replicas   int32
	template   corev1.PodTemplateSpec
	claims     []corev1.PersistentVolumeClaim
}

// cluster is everything that a build makes, decoded strictly.
type cluster struct {
	workloads  []workload
	services   []corev1.Service
	configMaps map[string]map[string]string
	secrets    map[string]map[string][]byte
	budgets    []policyv1.PodDisruptionBudget
	policies   []networkingv1.NetworkPolicy
	scaled     []scaledObject
	namespaces map[string]bool // of all objects
}

// build builds the example with KEDA, as an operator does who has copied the folder and
// put the secrets in.
func build(t *testing.T) *cluster {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "deploy"), os.DirFS(filepath.Join(root, "deploy"))); err != nil {
		t.Fatal(err)
	}
	site := filepath.Join(dir, "deploy/k8s/example")
	if err := os.CopyFS(filepath.Join(site, "secrets"), os.DirFS(filepath.Join(root, "deploy/demo/secrets"))); err != nil {
		t.Fatal(err)
	}
	if _, err := (authority.Folder{Dir: filepath.Join(site, "secrets/nats"), Now: time.Now()}).Make(); err != nil {
		t.Fatal(err)
	}
	set, err := devocert.New(devocert.Options{})
	if err != nil {
		t.Fatal(err)
	}
	files, err := set.Write(filepath.Join(dir, "certs"))
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{files.Chain: "chain.crt", files.ClientCert: "domain.crt", files.ClientKey: "domain.key"} {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(site, "secrets/devo", to), data)
	}
	write(t, filepath.Join(dir, "deploy/k8s/all/kustomization.yaml"), []byte("resources: [../example, ../keda]\n"))
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(dir, "deploy/k8s/all"))
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{configMaps: map[string]map[string]string{}, secrets: map[string]map[string][]byte{}, namespaces: map[string]bool{}}
	for _, r := range made.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		c.add(t, r.GetKind(), text)
	}
	return c
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// decode refuses fields that the kind does not have.
func decode[T any](t *testing.T, text []byte) T {
	t.Helper()
	var object T
	if err := yaml.UnmarshalStrict(text, &object); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return object
}

func (c *cluster) add(t *testing.T, kind string, text []byte) {
	t.Helper()
	var meta metav1.ObjectMeta
	switch kind {
	case "Namespace":
		meta = decode[corev1.Namespace](t, text).ObjectMeta
		meta.Namespace = meta.Name
	case "ConfigMap":
		o := decode[corev1.ConfigMap](t, text)
		c.configMaps[o.Name], meta = o.Data, o.ObjectMeta
	case "Secret":
		o := decode[corev1.Secret](t, text)
		c.secrets[o.Name], meta = o.Data, o.ObjectMeta
	case "Service":
		o := decode[corev1.Service](t, text)
		c.services, meta = append(c.services, o), o.ObjectMeta
	case "PodDisruptionBudget":
		o := decode[policyv1.PodDisruptionBudget](t, text)
		c.budgets, meta = append(c.budgets, o), o.ObjectMeta
	case "NetworkPolicy":
		o := decode[networkingv1.NetworkPolicy](t, text)
		c.policies, meta = append(c.policies, o), o.ObjectMeta
	case "ScaledObject":
		o := decode[scaledObject](t, text)
		c.scaled, meta = append(c.scaled, o), o.ObjectMeta
	default:
		meta = c.addWorkload(t, kind, text)
	}
	c.namespaces[meta.Namespace] = true
}

func (c *cluster) addWorkload(t *testing.T, kind string, text []byte) metav1.ObjectMeta {
	t.Helper()
	var meta metav1.ObjectMeta
	w := workload{kind: kind, replicas: 1}
	switch kind {
	case "Deployment":
		o := decode[appsv1.Deployment](t, text)
		meta, w.template, w.selector, w.replicas = o.ObjectMeta, o.Spec.Template, o.Spec.Selector.MatchLabels, *o.Spec.Replicas
	case "StatefulSet":
		o := decode[appsv1.StatefulSet](t, text)
		meta, w.template, w.selector, w.claims = o.ObjectMeta, o.Spec.Template, o.Spec.Selector.MatchLabels, o.Spec.VolumeClaimTemplates
	case "Job":
		o := decode[batchv1.Job](t, text)
		meta, w.template = o.ObjectMeta, o.Spec.Template
	case "CronJob":
		o := decode[batchv1.CronJob](t, text)
		meta, w.template = o.ObjectMeta, o.Spec.JobTemplate.Spec.Template
	default:
		t.Fatalf("nobody knows what a %s is; add it to this test", kind)
	}
	w.name = meta.Name
	c.workloads = append(c.workloads, w)
	return meta
}
