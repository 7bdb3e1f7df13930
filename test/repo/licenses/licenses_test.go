package licenses_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapline/tapline/test/repo/licenses"
)

const root = "../../.."

// TestEveryModuleHasAKnownLicense holds for what is linked in now; one more module, another
// licence, or a line too many is named.
func TestEveryModuleHasAKnownLicense(t *testing.T) {
	t.Parallel()
	modules, err := licenses.Shipped(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	known, err := licenses.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := licenses.Check(modules, known); err != nil || len(modules) < 30 {
		t.Errorf("%d modules: %v", len(modules), err)
	}
	const nats = "github.com/nats-io/nats.go"
	for _, test := range []struct {
		change func(map[string]string)
		want   string
	}{
		{func(k map[string]string) { delete(k, nats) }, nats + `: is not in deploy/licenses.txt: read its licence and add the line "` + nats + ` Apache-2.0"`},
		{func(k map[string]string) { k[nats] = "MIT" }, nats + ": has Apache-2.0, and deploy/licenses.txt says MIT"},
		{func(k map[string]string) { k["example.org/gone"] = "MIT" }, "example.org/gone: is in deploy/licenses.txt and no longer linked in"},
	} {
		changed := maps.Clone(known)
		test.change(changed)
		if err := licenses.Check(modules, changed); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
}

// TestLicensesThatAskForMoreAreRefused: also when they are listed.
func TestLicensesThatAskForMoreAreRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"GNU GENERAL PUBLIC LICENSE\nVersion 3": "has GPL", "Mozilla Public\n License Version 2.0": "has MPL",
		"Server Side Public License": "has SSPL", "All rights reserved.": "no text that is known",
		"MIT License\nPermission is hereby granted, free of charge, to any\nperson obtaining a copy. Commons Clause": "Commons-Clause AND MIT",
	} {
		m := licenses.Module{Path: "example.org/m", Version: "v1.0.0", Dir: t.TempDir()}
		if err := os.WriteFile(filepath.Join(m.Dir, "LICENSE.md"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := licenses.Check([]licenses.Module{m}, map[string]string{m.Path: "MIT"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	empty := licenses.Module{Path: "example.org/m", Dir: t.TempDir()}
	if err := licenses.Check([]licenses.Module{empty}, map[string]string{"example.org/m": "MIT"}); err == nil {
		t.Error("a module without a licence is accepted")
	}
}
