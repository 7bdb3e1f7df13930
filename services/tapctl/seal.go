package tapctl

import (
	"io"
	"log/slog"

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
			done, err := embedded.Seal(args[0], keys, log)
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
	}
	return nil
}
