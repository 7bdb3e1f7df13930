package torture

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/tapline/tapline/services/devosink/devocert"
)

// install copies certificates to where they are used, each file at once.
func install(to, from devocert.Files) error {
	if err := os.MkdirAll(filepath.Dir(to.Chain), 0o700); err != nil {
		return fmt.Errorf("install certificates: %w", err)
	}
	for _, pair := range [][2]string{{from.Chain, to.Chain}, {from.ClientCert, to.ClientCert}, {from.ClientKey, to.ClientKey}} {
		data, err := os.ReadFile(pair[0])
		if err != nil {
			return fmt.Errorf("install certificates: %w", err)
		}
		if err := os.WriteFile(pair[1]+".new", data, 0o600); err != nil { //nolint:gosec // in our own directory
			return fmt.Errorf("install certificates: %w", err)
		}
		if err := os.Rename(pair[1]+".new", pair[1]); err != nil {
			return fmt.Errorf("install certificates: %w", err)
		}
	}
	return nil
}

// copyTree copies a directory, as a power cut that syncs nothing more would leave it.
func copyTree(from, to string) error {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return nil
}
