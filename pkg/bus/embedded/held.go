package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A NATS server of its own does not take the lock of a store. It is seen by the files that it has
// open for writing, also from another container, and by what it writes meanwhile.

// settle is how long a file may stay open after its server has ended.
const settle = 500 * time.Millisecond

// unused refuses a store that a process has open.
func unused(stores ...string) error {
	until := time.Now().Add(settle)
	for _, part := range stores {
		err := filepath.WalkDir(part, func(path string, d fs.DirEntry, err error) error {
			for err == nil && d.Type().IsRegular() && written(path) {
				if time.Now().After(until) {
					return fmt.Errorf("%s is open: %w", path, errInUse)
				}
				<-time.After(settle / 10)
			}
			return gone(err)
		})
		if err != nil {
			return fmt.Errorf("look at the store: %w", err)
		}
	}
	return nil
}

// trace is what a write changes.
type trace struct {
	size int64
	at   time.Time
}

// fingerprint of the files of a store.
func fingerprint(store string) (map[string]trace, error) {
	all := map[string]trace{}
	err := filepath.WalkDir(store, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return gone(err)
		}
		info, err := d.Info()
		if err == nil {
			all[strings.TrimPrefix(path, store)] = trace{info.Size(), info.ModTime()}
		}
		return gone(err)
	})
	if err != nil {
		return nil, fmt.Errorf("look at the store: %w", err)
	}
	return all, nil
}

// unchanged refuses a store that is in use, or was since its fingerprint was taken.
func unchanged(store string, before map[string]trace) error {
	now, err := fingerprint(store)
	if err != nil {
		return err
	}
	if !maps.Equal(now, before) {
		return fmt.Errorf("the store changed meanwhile: %w", errInUse)
	}
	return unused(store)
}

// gone forgives that a file went meanwhile.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// exist reports what is there, and keeps the first error.
type exist struct{ err error }

func (e *exist) is(path string) bool {
	_, err := os.Stat(path)
	e.err = errors.Join(e.err, gone(err))
	return err == nil
}
