package devocert_test

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/tapline/tapline/services/devosink/devocert"
)

func create(t *testing.T, o devocert.Options) *devocert.Set {
	t.Helper()
	set, err := devocert.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestSameSeedMakesTheSameBytes(t *testing.T) {
	t.Parallel()
	o := devocert.Options{Seed: "a test", Now: time.Date(2026, 3, 11, 8, 0, 0, 0, time.UTC)}
	a, b := create(t, o), create(t, o)
	o.Seed = "another"
	c := create(t, o)
	for _, parts := range [][3][]byte{
		{a.Chain, b.Chain, c.Chain},
		{a.ServerCert, b.ServerCert, c.ServerCert},
		{a.ServerKey, b.ServerKey, c.ServerKey},
		{a.ClientCert, b.ClientCert, c.ClientCert},
		{a.ClientKey, b.ClientKey, c.ClientKey},
	} {
		if !bytes.Equal(parts[0], parts[1]) {
			t.Error("the same seed made different bytes")
		}
		if bytes.Equal(parts[0], parts[2]) {
			t.Error("another seed made the same bytes")
		}
	}
	if bytes.Equal(create(t, devocert.Options{}).ClientKey, create(t, devocert.Options{}).ClientKey) {
		t.Error("without a seed keys repeat")
	}
}

func TestFilesAreNotOverwrittenAndKeysArePrivate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	set := create(t, devocert.Options{})
	files, err := set.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{files.ServerKey, files.ClientKey} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if _, err := create(t, devocert.Options{}).Write(dir); err == nil {
		t.Error("certificates were overwritten")
	}
}
