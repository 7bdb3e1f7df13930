package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Installed is a directory into which install.sh has put the programs.
type Installed string

// Check says what to do where they are missing.
func (i Installed) Check() error {
	if _, err := os.Stat(filepath.Join(string(i), ".stamp")); err != nil {
		return fmt.Errorf("rsyslog and syslog-ng are not there, run test/acceptance/interop/install.sh %s: %w", string(i), err)
	}
	return nil
}

// Program is the path of a daemon.
func (i Installed) Program(name string) string { return filepath.Join(string(i), "usr/sbin", name) }

// Find is the directory that has a file.
func (i Installed) Find(name string) string {
	var dir string
	_ = filepath.WalkDir(string(i), func(path string, _ os.DirEntry, _ error) error {
		if filepath.Base(path) == name {
			dir = filepath.Dir(path)
		}
		return nil
	})
	return dir
}

// Environ lets the programs find their libraries.
func (i Installed) Environ() []string {
	libraries := []string{i.Find("libestr.so.0"), i.Find("libcap.so.2"), filepath.Dir(i.Find("libafsocket.so"))}
	return []string{"LD_LIBRARY_PATH=" + strings.Join(libraries, ":")}
}
