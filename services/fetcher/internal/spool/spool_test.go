package spool_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tapline/tapline/services/fetcher/internal/spool"
)

func TestGivesBackWhatItGot(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made", "when", "needed")
	rapid.Check(t, func(t *rapid.T) {
		s := spool.Open(dir, rapid.IntRange(0, 3000).Draw(t, "limit"))
		defer func() {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}()
		var want [][]byte
		for range rapid.IntRange(0, 20).Draw(t, "batches") {
			data := bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, rapid.IntRange(0, 900).Draw(t, "size"))
			if err := s.Add("label", data); err != nil {
				t.Fatal(err)
			}
			want = append(want, data)
		}
		for range 2 { // a repeated publication reads again
			i := 0
			err := s.Each(func(label string, data []byte) bool {
				if label != "label" || !bytes.Equal(data, want[i]) {
					t.Fatalf("batch %d is %q %d bytes", i, label, len(data))
				}
				i++
				return true
			})
			if err != nil || i != len(want) {
				t.Fatalf("read %d of %d batches: %v", i, len(want), err)
			}
		}
	})
	left, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if len(left) != 0 {
		t.Errorf("%d files are left", len(left))
	}
}

func TestUnusableDirectoryIsNamed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := spool.Open(file, 0)
	if err := s.Add("label", []byte("x")); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("%v", err)
	}
}
