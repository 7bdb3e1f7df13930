package tapctl

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tapline/tapline/pkg/bus/embedded"
	"github.com/tapline/tapline/pkg/telemetry"
)

const encryptionUsage = "the file with the key that the configuration of the NATS server includes, encryption.conf"

// seal prepares the store of a NATS server for its key.
func (t *tool) seal() *cobra.Command {
	file := ""
	cmd := &cobra.Command{
		Use: "seal STORE_DIR", Short: "Encrypt the store of a NATS server that is stopped, or replace the key of it", Args: takes(1),
		RunE: func(_ *cobra.Command, args []string) error {
			keys, err := embedded.ServerKeys(file)
			if err != nil {
				return err
			}
			log := telemetry.NewLogger(t.Stderr, telemetry.Config{LogLevel: slog.LevelInfo})
			done, err := sealStore(args[0], file, keys, log)
			if err != nil {
				return err
			}
			return t.print(done, func(w io.Writer) {
				if keys.Key == "" {
					printf(w, "%s is in clear, as %s wants it\n", args[0], file)
					return
				}
				printf(w, "%s has %d files with the key; %d were in clear, %d had the previous key\n", args[0], done.Files, done.Encrypted, done.Replaced)
			})
		},
	}
	cmd.Flags().StringVar(&file, "encryption", "", encryptionUsage)
	return cmd
}

// checkStores asks the same of a server that may run.
func checkStores(dirs []string, file string) error {
	keys, err := embedded.ServerKeys(file)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := embedded.CheckStore(dir, keys); err != nil {
			return err
		}
		mark, err := keyMark(file)
		if err == nil {
			err = writeMark(dir, mark)
		}
		away := errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
		if err != nil && !away { // then the start refuses, if it looks
			return fmt.Errorf("tell the start of the server about its key: %w", err)
		}
	}
	return nil
}

// sealStore seals a store. While it is under way no start may find the store good, whichever key it
// is given.
func sealStore(dir, file string, keys embedded.Keys, log *slog.Logger) (done embedded.Sealed, err error) {
	mark, err := keyMark(file)
	if err != nil {
		return done, err
	}
	before, unknown := os.ReadFile(markOf(dir))
	if unknown != nil {
		before = []byte(noKey) // as deploy/nats/start.sh takes it
	}
	if _, gone := os.Stat(dir); gone == nil {
		if err = writeMark(dir, "being sealed"); err != nil {
			return done, err
		}
		defer func() {
			if err != nil { // nothing is changed, or what is has the key before
				err = errors.Join(err, writeMark(dir, strings.TrimSpace(string(before))))
			}
		}()
	}
	if done, err = embedded.Seal(dir, keys, log); err != nil {
		return done, err
	}
	return done, writeMark(dir, mark)
}

// noKey marks a store in clear.
const noKey = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func markOf(dir string) string { return filepath.Join(dir, "key.mark") }

// writeMark shows deploy/nats/start.sh which key a store has.
func writeMark(dir, mark string) error {
	if have, err := os.ReadFile(markOf(dir)); err == nil && string(have) == mark+"\n" {
		return nil
	}
	scratch := markOf(dir) + ".new"
	if err := os.WriteFile(scratch, []byte(mark+"\n"), 0o600); err != nil { //nolint:gosec // the operator names the directory
		return err
	}
	return os.Rename(scratch, markOf(dir))
}

// keyMark is the digest of the setting with the key, as deploy/nats/start.sh makes it.
func keyMark(file string) (string, error) {
	data, err := os.ReadFile(file) //nolint:gosec // the operator names the file
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for line := range strings.SplitSeq(strings.NewReplacer(" ", "", "\t", "", "\r", "", ",", "\n").Replace(string(data)), "\n") {
		if strings.HasPrefix(line, "key") {
			_, _ = io.WriteString(sum, line+"\n")
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
