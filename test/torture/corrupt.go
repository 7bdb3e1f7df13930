package torture

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// damage changes a byte in the middle of the largest file of a stream, as a bad disk would.
func (w *world) damage(stream string) error {
	files, err := filepath.Glob(filepath.Join(w.dir, "store", "jetstream", "*", "streams", stream, "msgs", "*.blk"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("damage %s: no files: %w", stream, err)
	}
	slices.SortFunc(files, func(a, b string) int { return int(size(b) - size(a)) })
	file, err := os.OpenFile(files[0], os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("damage %s: %w", stream, err)
	}
	defer file.Close()
	at := size(files[0]) / 2
	b := make([]byte, 1)
	if _, err := file.ReadAt(b, at); err != nil {
		return fmt.Errorf("damage %s: %w", stream, err)
	}
	b[0] ^= 0x55
	if _, err := file.WriteAt(b, at); err != nil {
		return fmt.Errorf("damage %s: %w", stream, err)
	}
	w.mu.Lock()
	w.damaged = true
	w.mu.Unlock()
	w.log("damaged %s at %d of %d", files[0], at, size(files[0]))
	return nil
}

func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
