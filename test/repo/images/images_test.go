package images_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapline/tapline/test/repo/images"
)

const root = "../../.."

// TestFilesUseTheList: what compose, the Dockerfile and the manifests name is what the list names.
func TestFilesUseTheList(t *testing.T) {
	t.Parallel()
	all, err := images.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	changed, err := images.Spread(root, all, true)
	if err != nil || len(changed) > 0 {
		t.Errorf("not as in %s: %v (%v); go run ./test/repo/cmd/images spread", images.List, changed, err)
	}
	// Every image that a file names is ours or in the list, so that none is left out.
	for _, name := range []string{"docker-compose.yml", "deploy/cluster.yml", "deploy/external-nats.yml", "deploy/Dockerfile", "deploy/k8s/nats/nats.yaml"} {
		for text := range strings.Lines(read(t, root, name)) {
			_, image, found := strings.Cut(strings.TrimSpace(text), "image: ")
			if from, ok := strings.CutPrefix(text, "FROM "); ok {
				image, found = strings.Fields(from)[0], true
			}
			known := strings.HasPrefix(image, "tapline/") || image == "scratch" || image == "base"
			for _, i := range all {
				known = known || strings.Contains(image, i.String()) || image == "${"+i.Variable+"}"
			}
			if found && !known {
				t.Errorf("%s names %s, which %s does not", name, image, images.List)
			}
		}
	}
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// copied is the part of the repository that the verb changes.
func copied(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"docker-compose.yml", "deploy/cluster.yml", "deploy/Dockerfile", "deploy/k8s/nats/nats.yaml", images.List} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(read(t, root, name)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// registry stands in for one that wants a token; the manifest of a repository names it and the
// generation.
func registry(t *testing.T, generation *string) string {
	t.Helper()
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			if r.URL.Query().Get("service") != "stand-in" {
				http.Error(w, "which service?", http.StatusBadRequest)
				return
			}
			_, _ = w.Write([]byte(`{"token":"let-me-pull"}`))
		case r.Header.Get("Authorization") != "Bearer let-me-pull":
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+server.URL+`/token",service="stand-in",scope="repository:x:pull"`)
			w.WriteHeader(http.StatusUnauthorized)
		case !strings.Contains(r.Header.Get("Accept"), "image.index"):
			http.Error(w, "of one platform only", http.StatusNotAcceptable)
		case *generation == "lies":
			w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64))
			_, _ = w.Write([]byte(`{}`))
		case *generation == "gone" && strings.Contains(r.URL.Path, "grafana"):
			http.NotFound(w, r)
		default:
			_, _ = w.Write([]byte(manifest(r.URL.Path, *generation)))
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func manifest(path, generation string) string { return `{"of":"` + path + generation + `"}` }

func digest(path, generation string) string {
	sum := sha256.Sum256([]byte(manifest(path, generation)))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// TestUpdatePinsByDigest: every place that uses an image has its digest, another update replaces
// it, and a registry that fails or lies changes nothing.
func TestUpdatePinsByDigest(t *testing.T) {
	t.Parallel()
	dir, generation := copied(t), "one"
	r := images.Registry{Mirror: registry(t, &generation), Client: http.DefaultClient}
	for _, generation = range []string{"one", "two"} {
		if _, err := images.Update(t.Context(), dir, r); err != nil {
			t.Fatal(err)
		}
		nats := "nats:2.15-alpine@" + digest("/v2/library/nats/manifests/2.15-alpine", generation)
		for name, want := range map[string]string{
			images.List: "\nNATS_IMAGE=" + nats + "\n", "docker-compose.yml": "image: ${NATS_IMAGE:-" + nats + "}\n",
			"deploy/cluster.yml": "image: ${NATS_IMAGE:-" + nats + "}\n", "deploy/k8s/nats/nats.yaml": "image: " + nats + "\n",
			"deploy/Dockerfile": "ARG GOLANG_IMAGE=golang:1.26-bookworm@" + digest("/v2/library/golang/manifests/1.26-bookworm", generation) + "\n",
		} {
			if !strings.Contains(read(t, dir, name), want) {
				t.Errorf("%s does not have %q", name, want)
			}
		}
		if n := strings.Count(read(t, dir, "docker-compose.yml"), "@sha256:"); n != 3 {
			t.Errorf("docker-compose.yml has %d digests", n)
		}
	}
	before := read(t, dir, images.List)
	for _, generation = range []string{"gone", "lies"} {
		if _, err := images.Update(t.Context(), dir, r); err == nil || !strings.Contains(err.Error(), "/manifests/") {
			t.Errorf("%s: %v", generation, err)
		}
		if read(t, dir, images.List) != before {
			t.Errorf("%s: the list has changed", generation)
		}
	}
}

func TestListIsChecked(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "NATS_IMAGE=nats\n", "NATS_IMAGE=nats:1@sha256:abc\n", "nats:2.15\n"} {
		dir := copied(t)
		if err := os.WriteFile(filepath.Join(dir, images.List), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := images.Read(dir); err == nil || !strings.Contains(err.Error(), images.List) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
