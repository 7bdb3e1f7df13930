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

// TestTheFileIsEncrypted looks into the file that has no name any more: a disk that is carried away
// has its bytes.
func TestTheFileIsEncrypted(t *testing.T) {
	t.Parallel()
	const secret = "victim@customer.example"
	dir := t.TempDir()
	s := spool.Open(dir, 0)
	defer func() { _ = s.Close() }()
	data := bytes.Repeat([]byte(secret), 40_000) // longer than any buffer
	for range 2 {
		if err := s.Add("label", data); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Each(func(_ string, have []byte) bool { return bytes.Equal(have, data) }); err != nil {
		t.Fatal(err)
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("this system shows no open files:", err)
	}
	found := false
	for _, fd := range fds {
		link := filepath.Join("/proc/self/fd", fd.Name())
		if to, err := os.Readlink(link); err != nil || !strings.HasPrefix(to, dir) {
			continue
		}
		have, err := os.ReadFile(link)
		if err != nil {
			t.Fatal(err)
		}
		found = true
		if len(have) != 2*len(data) || bytes.Contains(have, []byte(secret)) || bytes.Equal(have[:len(data)], have[len(data):]) {
			t.Errorf("%d bytes that show what they are", len(have))
		}
	}
	if !found {
		t.Error("nothing is spooled to a file")
	}
}

// BenchmarkSpool writes 64 MiB to a file and reads them once.
func BenchmarkSpool(b *testing.B) {
	data := bytes.Repeat([]byte("record"), 40_000)
	b.SetBytes(int64(64 << 20 / len(data) * len(data)))
	for b.Loop() {
		s := spool.Open(b.TempDir(), 0)
		for range 64 << 20 / len(data) {
			if err := s.Add("label", data); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.Each(func(string, []byte) bool { return true }); err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
