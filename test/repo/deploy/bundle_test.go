package deploy_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestBundleIsWhole: what `make bundle` puts together, but for images, with one program. Every file
// has a checksum that fits, nothing is there that is not in version control, and the bill of
// materials names what is linked in.
func TestBundleIsWhole(t *testing.T) {
	t.Parallel()
	dir := bundle(t)
	sums := checksums(t, filepath.Join(dir, "SHA256SUMS"))
	found := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == "SHA256SUMS" {
			return err
		}
		found++
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if sum := sumOf(t, path); sums[name] != sum {
			t.Errorf("%s has the checksum %q, listed is %q", name, sum, sums[name])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found != len(sums) {
		t.Errorf("%d files and %d checksums", found, len(sums))
	}
	for _, name := range []string{
		"bin/tapctl", "docker-compose.yml", "deploy/init.sh", "deploy/nats/nats.conf", "deploy/nats/tls.conf", "deploy/prometheus/alerts.yml",
		"docs/airgap.md", "LICENSE", "SECURITY.md", "sbom.cdx.json", "sbom/tapctl.cdx.json", "licenses/go.LICENSE",
	} {
		if sums[name] == "" {
			t.Errorf("%s is missing", name)
		}
	}
	for name := range sums {
		if strings.HasPrefix(name, "secrets/") || filepath.Base(name) == ".env" {
			t.Errorf("%s does not belong into a bundle", name)
		}
	}
	if !slices.ContainsFunc(keys(sums), func(name string) bool { return strings.HasPrefix(name, "licenses/github.com/nats-io/nats.go@") }) {
		t.Error("the licence of the NATS client is missing")
	}
	checkMaterials(t, dir, sums)
}

// bundle makes one and unpacks it, as its receiver does.
func bundle(t *testing.T) string {
	t.Helper()
	binaries, target, unpacked := t.TempDir(), t.TempDir(), t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", binaries, "./services/tapctl/cmd/tapctl")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	command := exec.CommandContext(t.Context(), filepath.Join(root, "deploy/bundle.sh"), "v1.2.3")
	command.Env = append(os.Environ(), "BUNDLE_BIN="+binaries, "BUNDLE_DIR="+target, "BUNDLE_IMAGES=no") //nolint:forbidigo // the script needs Go's
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	archive := filepath.Join(target, "tapline-v1.2.3.tar.gz")
	if got := checksums(t, archive+".sha256")["tapline-v1.2.3.tar.gz"]; got != sumOf(t, archive) {
		t.Errorf("the archive's checksum is listed as %q", got)
	}
	if out, err := exec.CommandContext(t.Context(), "tar", "--extract", "--file", archive, "--directory", unpacked).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(unpacked, "tapline-v1.2.3")
}

// checksums reads what sha256sum wrote, file to sum.
func checksums(t *testing.T, path string) map[string]string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	sums := map[string]string{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		sum, name, ok := strings.Cut(lines.Text(), "  ")
		if !ok {
			t.Fatalf("%s has the line %q", path, lines.Text())
		}
		sums[name] = sum
	}
	return sums
}

func sumOf(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func keys(m map[string]string) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	return all
}

// checkMaterials: the bill names the binary with its checksum, Go's library, and modules
// with versions.
func checkMaterials(t *testing.T, dir string, sums map[string]string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "sbom.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var bill struct {
		BOMFormat   string
		SpecVersion string
		Components  []struct {
			Name, Version, PURL string
			Licenses            []struct{ Expression string }
			Hashes              []struct{ Alg, Content string }
		}
	}
	if err := json.Unmarshal(data, &bill); err != nil {
		t.Fatal(err)
	}
	named := map[string]string{}
	for _, c := range bill.Components {
		named[c.Name] = c.Version
		if strings.Contains(c.Name, ".") && (len(c.Licenses) != 1 || c.Licenses[0].Expression == "") {
			t.Errorf("%s has no licence", c.Name)
		}
		if c.Name == "tapctl" && (len(c.Hashes) != 1 || c.Hashes[0].Content != sums["bin/tapctl"]) {
			t.Errorf("the binary is listed as %+v", c)
		}
		if strings.Contains(c.PURL, "(devel)") {
			t.Errorf("%s is no version that anybody finds", c.PURL)
		}
	}
	if bill.BOMFormat != "CycloneDX" || named["tapctl"] != "v1.2.3" || named["std"] == "" || !strings.HasPrefix(named["github.com/nats-io/nats.go"], "v") {
		t.Errorf("%s %s names %v", bill.BOMFormat, bill.SpecVersion, named)
	}
}
