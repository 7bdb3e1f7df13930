package main

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rootFS writes what docker export does.
func rootFS(t *testing.T, files map[string][]byte) string {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, data := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "root.tar")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestImageNamesProgramsAndPackages: the modules of a Go program, and the packages of Alpine and
// Debian.
func TestImageNamesProgramsAndPackages(t *testing.T) {
	t.Chdir("../../../..")
	self, err := os.Executable() // a Go program with modules: this test
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	root := rootFS(t, map[string][]byte{
		"shipper": program, "bin/script": []byte("#!/bin/sh\n"), "bin/other": []byte("\x7fELF of another language"),
		"lib/apk/db/installed":           []byte("C:Q1\nP:musl\nV:1.2.5-r9\nL:MIT\n\nP:busybox\nV:1.37.0-r12\nL:GPL-2.0-only\n"),
		"var/lib/dpkg/status.d/tzdata.x": []byte("Package: tzdata\nStatus: installed\nVersion: 2026a-1\n"),
	})
	var out bytes.Buffer
	if err := run([]string{"image", "tapline/shipper:v1.2.3", "sha256:feed", root}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"name": "tapline/shipper:v1.2.3"`, `"version": "sha256:feed"`, `"type": "container"`, `"name": "/shipper"`, `"version": "v1.2.3"`,
		`"name": "github.com/CycloneDX/cyclonedx-go"`, `"purl": "pkg:apk/alpine/musl@1.2.5-r9"`, `"expression": "GPL-2.0-only"`,
		`"purl": "pkg:deb/debian/tzdata@2026a-1"`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the bill does not have %s", want)
		}
	}
	if strings.Contains(out.String(), "/bin/") {
		t.Error("the bill names what is no Go program")
	}
	if err := run([]string{"image", "empty", "id", rootFS(t, map[string][]byte{"etc/passwd": nil})}, &out); err == nil {
		t.Error("a bill of nothing is no error")
	}
}
