package deploy_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// vuln runs make vuln on the smallest module with a database that was carried here.
func vuln(t *testing.T, tools, db string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "make", "--no-print-directory", "vuln", "MODULES=proto", "TOOLS="+tools, "DB="+db)
	command.Dir = root
	out, err := command.CombinedOutput()
	return string(out), err
}

// TestVulnerabilityDatabaseCanBeCarried: an entry of a made database for a module in use is found
// without a network, and what is no database is an error rather than a success.
func TestVulnerabilityDatabaseCanBeCarried(t *testing.T) {
	t.Parallel()
	tools, db := t.TempDir(), t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", tools, "golang.org/x/vuln/cmd/govulncheck")
	build.Dir = filepath.Join(root, "tools")
	build.Env = append(build.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	write(t, filepath.Join(tools, ".stamp"), nil) // make has nothing to install
	for _, nothing := range []string{db, filepath.Join(db, "missing")} {
		if out, err := vuln(t, tools, nothing); err == nil || !strings.Contains(out, "is no vulnerability database") {
			t.Errorf("%s: %v\n%s", nothing, err, out)
		}
	}
	const id, path, when = "GO-2026-9999", "google.golang.org/protobuf", "2026-11-01T00:00:00Z"
	put := func(name string, v any) {
		t.Helper()
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(db, name), data)
	}
	type object = map[string]any
	put("index/db.json", object{"modified": when})
	put("index/vulns.json", []object{{"id": id, "modified": when}})
	put("index/modules.json", []object{})
	if out, err := vuln(t, tools, db); err != nil || !strings.Contains(out, when) {
		t.Errorf("with an entry for nothing: %v\n%s", err, out)
	}
	put("index/modules.json", []object{{"path": path, "vulns": []object{{"id": id, "modified": when}}}})
	put("ID/"+id+".json", object{
		"schema_version": "1.3.1", "id": id, "modified": when, "published": when, "summary": "made for a test", "details": "made for a test",
		"affected": []object{{
			"package": object{"name": path, "ecosystem": "Go"}, "ranges": []object{{"type": "SEMVER", "events": []object{{"introduced": "0"}}}},
			"ecosystem_specific": object{"imports": []object{{"path": path + "/runtime/protoimpl"}}},
		}},
		"database_specific": object{"url": "https://pkg.go.dev/vuln/" + id, "review_status": "REVIEWED"},
	})
	if out, err := vuln(t, tools, db); err == nil || !strings.Contains(out, id) {
		t.Errorf("the entry is not found: %v\n%s", err, out)
	}
}
