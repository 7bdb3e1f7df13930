package torture

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Root is the directory of the repository, found from the working directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find the repository: %w", os.ErrNotExist)
		}
	}
}

// Build compiles the programs under test into dir, with their steps switched on.
func Build(ctx context.Context, dir string) error {
	folders := []string{"./test/torture/cmd/natsserver"}
	for _, name := range []string{"scheduler", "fetcher", "enricher", "shipper", "tapctl"} {
		folders = append(folders, folderOf(name))
	}
	return build(ctx, dir, folders)
}

// folderOf is where the program of a service is.
func folderOf(name string) string { return "./services/" + name + "/cmd/" + name }

func build(ctx context.Context, dir string, folders []string) error {
	root, err := Root()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("build the programs: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-tags", "torture", "-o", dir}, folders...)...) //nolint:gosec // our own programs
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
