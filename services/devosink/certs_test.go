package devosink_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/devosink/devocert"
)

// TestCertsAreKept: a demonstration that is restarted keeps the certificates it has.
func TestCertsAreKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "certs")
	say := func(string, ...any) {}
	read := func() []byte {
		data, err := os.ReadFile(devocert.In(dir).ServerKey)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	if err := devosink.Certs([]string{"--keep", "--dir", dir, "--name", "devosink"}, say); err != nil {
		t.Fatal(err)
	}
	first := read()
	if err := devosink.Certs([]string{"--keep", "--dir", dir}, say); err != nil || !bytes.Equal(first, read()) {
		t.Errorf("a set that was there: %v", err)
	}
	if err := devosink.Certs([]string{"--dir", dir}, say); err == nil || !bytes.Equal(first, read()) {
		t.Errorf("without --keep: %v", err)
	}
	if err := os.Remove(devocert.In(dir).ClientKey); err != nil {
		t.Fatal(err)
	}
	if err := devosink.Certs([]string{"--keep", "--dir", dir}, say); err == nil || !bytes.Equal(first, read()) {
		t.Errorf("half a set: %v", err)
	}
}
