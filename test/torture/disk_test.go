package torture

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestDiskLosesWhatIsNotSynced: a power cut leaves what was synced, and nothing else; a full disk
// takes nothing until it is freed; and nothing stays mounted.
func TestDiskLosesWhatIsNotSynced(t *testing.T) {
	t.Parallel()
	d, err := newDisk(filepath.Join(t.TempDir(), "disk"), filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Skip("needs root on Linux, loop devices and ext4:", err)
	}
	t.Cleanup(func() {
		if err := d.close(); err != nil {
			t.Error(err)
		}
		if device, err := d.device(); device != "" || err != nil {
			t.Errorf("%q is still there, %v", device, err)
		}
	})
	write := func(name string, sync bool) error {
		file, err := os.Create(filepath.Join(d.dir, name))
		if err != nil {
			return err
		}
		defer file.Close()
		if _, err := file.Write(make([]byte, 10_000)); err != nil {
			return err
		}
		if sync {
			return file.Sync()
		}
		return nil
	}
	if err := errors.Join(write("synced", true), write("in memory", false)); err != nil {
		t.Fatal(err)
	}
	snapshot := d.file + ".snapshot"
	if err := errors.Join(d.snapshot(t.Context(), snapshot), d.loseUnsynced(snapshot)); err != nil {
		t.Fatal(err)
	}
	if n := size(filepath.Join(d.dir, "synced")); n != 10_000 {
		t.Errorf("%d bytes of what was synced", n)
	}
	if _, err := os.Stat(filepath.Join(d.dir, "in memory")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was not synced is still there: %v", err)
	}
	d.fillUp()
	if err := write("more", true); err == nil {
		t.Error("a full disk took a file")
	}
	if err := errors.Join(d.free(), write("more", true)); err != nil {
		t.Errorf("a freed disk: %v", err)
	}
	d.fillUp()
	dir, err := os.Open(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(dir.Sync(), dir.Close(), d.free(), d.snapshot(t.Context(), snapshot), d.loseUnsynced(snapshot)); err != nil {
		t.Fatal(err)
	}
	if err := write("after", true); err != nil {
		t.Errorf("a disk whose power was cut after it was freed: %v", err)
	}
}
