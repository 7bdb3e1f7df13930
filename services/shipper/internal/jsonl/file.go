package jsonl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// file is an append-only file that rotates.
type file struct {
	cfg     FileConfig
	f       *os.File
	lock    *flock.Flock // nil before the file was opened for the first time
	size    int64
	durable int64     // of which a sync has said that they are on disk
	written time.Time // when rows were written last
}

// open opens the path, or leaves the file at hand as it is.
func (f *file) open() error {
	dir := filepath.Dir(f.cfg.Path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := f.claim(); err != nil {
		return err
	}
	next, err := os.OpenFile(f.cfg.Path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := next.Stat()
	if err != nil {
		return errors.Join(err, next.Close())
	}
	size, err := mend(next, info.Size())
	if err == nil {
		_, err = next.Seek(size, io.SeekStart)
	}
	if err = errors.Join(err, syncDir(dir)); err != nil {
		return errors.Join(err, next.Close())
	}
	f.f, f.size, f.durable, f.written = next, size, size, info.ModTime()
	return nil
}

// claim keeps other processes away, which would write over our rows. The lock is a file of its own,
// as the one with the rows is renamed; it is left behind.
func (f *file) claim() error {
	if f.lock != nil {
		return nil
	}
	lock := flock.New(f.cfg.Path + ".lock")
	mine, err := lock.TryLock()
	if err == nil && !mine {
		err = errInUse
	}
	if err != nil {
		return errors.Join(err, lock.Close())
	}
	f.lock = lock
	return nil
}

var errInUse = errors.New("another process writes it")

// syncDir makes the names in a directory durable; without it a power cut may
// take a whole file whose rows were synced.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the directory of a configured file
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// mend cuts off a last line without an end: it was not confirmed and will be redelivered.
func mend(f *os.File, size int64) (int64, error) {
	const step = 64 << 10
	buf := make([]byte, step)
	for end := size; end > 0; {
		start := max(0, end-step)
		n, err := f.ReadAt(buf[:end-start], start)
		if err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			whole := start + int64(i) + 1
			return whole, f.Truncate(whole)
		}
		end = start
	}
	return 0, f.Truncate(0)
}

// Write appends; a file that is full, or of an earlier period, is renamed before.
func (f *file) Write(p []byte) (int, error) {
	if f.over(len(p), time.Now()) {
		if err := f.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := f.f.Write(p)
	if err != nil && n > 0 { // a full disk: leave no torn line behind
		err = errors.Join(err, f.f.Truncate(f.size))
		_, seek := f.f.Seek(f.size, io.SeekStart)
		return 0, errors.Join(err, seek)
	}
	f.size, f.written = f.size+int64(n), time.Now()
	return n, err
}

// over reports whether n more bytes belong into a new file.
func (f *file) over(n int, now time.Time) bool {
	full := f.cfg.MaxBytes > 0 && f.size+int64(n) > f.cfg.MaxBytes
	past := f.cfg.Period > 0 && now.Truncate(f.cfg.Period).After(f.written.Truncate(f.cfg.Period))
	return f.size > 0 && (full || past)
}

// settle syncs the file. A sync that failed cannot be repeated: the kernel may have thrown away
// what it could not write, and says so once. So what was written since the last good one is taken
// out.
func (f *file) settle() error {
	err := f.f.Sync()
	if err == nil {
		f.durable = f.size
		return nil
	}
	_, seek := f.f.Seek(f.durable, io.SeekStart)
	f.size = f.durable
	return errors.Join(errNotDurable, err, f.f.Truncate(f.durable), seek)
}

// Close closes the file, and leaves it to others.
func (f *file) Close() error { return errors.Join(f.f.Close(), f.lock.Close()) }

// rotate renames path to path.1, path.1 to path.2, and so on. When it fails, the
// file at hand stays open, and the next write tries again from where this one stopped.
func (f *file) rotate() error {
	if err := f.settle(); err != nil {
		return err
	}
	name := func(i int) string { return fmt.Sprintf("%s.%d", f.cfg.Path, i) }
	if _, err := os.Stat(f.cfg.Path); err == nil {
		for i := f.cfg.Keep - 1; i >= 1; i-- {
			if err := os.Rename(name(i), name(i+1)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		if err := os.Rename(f.cfg.Path, name(1)); err != nil {
			return err
		}
	}
	full := f.f
	if err := f.open(); err != nil {
		return err
	}
	return full.Close()
}
