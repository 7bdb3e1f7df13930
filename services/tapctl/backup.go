package tapctl

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/embedded"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/services/tapctl/internal/backup"
)

const dataDirUsage = "DATA_DIR of a tapline that is stopped: no NATS server is needed"

// backup copies streams and buckets into a folder.
func (t *tool) backup() *cobra.Command {
	data, lock := "", backup.LockFlags{}
	cmd := &cobra.Command{
		Use: "backup DIR", Short: "Copy the streams and buckets into a folder of its own; everything may keep running", Args: takes(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := lock.Lock()
			if err != nil {
				return err
			}
			return t.offline(cmd, data, func(ctx context.Context, _ Config, b *bus.Bus) error {
				m, err := backup.Take(ctx, b, args[0], to, t.printPart("copied"))
				if err != nil {
					return err
				}
				return t.print(m, func(w io.Writer) {
					printf(w, "backup of %s is in %s, %s\n", m.Ended.Format(time.RFC3339), args[0], inClear(m))
				})
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&data, "data-dir", "", dataDirUsage)
	f.StringArrayVar(&lock.Recipients, "recipient", nil, "encrypt for this public key of age, age1...; may be repeated")
	f.StringVar(&lock.RecipientsFile, "recipients-file", "", "encrypt for the public keys of age in this file, one on each line")
	f.StringVar(&lock.PassphraseFile, "passphrase-file", "", "encrypt with the passphrase in this file")
	return cmd
}

func inClear(m *backup.Manifest) string {
	if m.Encryption == "" {
		return "in clear"
	}
	return "encrypted"
}

// printPart prints a line for each part while it is at work.
func (t *tool) printPart(what string) func(backup.Part) {
	return func(p backup.Part) {
		if t.output == "text" {
			t.say("%s %s: %d messages, %d bytes\n", what, p.File, p.Messages, p.Bytes)
		}
	}
}

// restore brings a backup back.
func (t *tool) restore() *cobra.Command {
	data, stopped, keys := "", "", backup.MeansFlags{}
	force, check := false, false
	cmd := &cobra.Command{
		Use: "restore DIR", Short: "Bring the streams and buckets of a backup back; no stage may run", Args: takes(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			by, err := keys.Means()
			if err != nil {
				return err
			}
			if check {
				return t.checkBackup(args[0], by)
			}
			if data != "" { // a wiped disk has none
				if err := os.MkdirAll(data, 0o700); err != nil {
					return config.Invalid("--data-dir", data, "cannot be made: "+err.Error())
				}
			}
			last := time.Now()
			if stopped != "" {
				if last, err = instant("--stopped", stopped, last); err != nil {
					return err
				}
			}
			return t.offline(cmd, data, func(ctx context.Context, c Config, b *bus.Bus) error {
				r, err := backup.Restore(ctx, b, backup.Order{
					Dir: args[0], Limits: c.Limits, Quota: c.Quota, Force: force, Means: by, Stopped: last, Now: time.Now, Tell: t.printPart("restored"),
				})
				if err != nil {
					return err
				}
				return t.print(r, func(w io.Writer) { printRestored(w, r) })
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&data, "data-dir", "", dataDirUsage)
	f.StringVar(&stopped, "stopped", "", "when what was backed up made its last call to Proofpoint: RFC 3339, or an age such as 30h; now if empty")
	f.BoolVar(&force, "force", false, "replace streams that have something in them")
	f.BoolVar(&check, "check", false, "only check the files of the backup; without a key those of an encrypted one are compared with their checksums")
	f.StringArrayVar(&keys.IdentityFiles, "identity-file", nil, "decrypt with the key of age in this file; may be repeated")
	f.StringVar(&keys.PassphraseFile, "passphrase-file", "", "decrypt with the passphrase in this file")
	return cmd
}

// checkBackup decrypts what there are keys for, and compares checksums.
func (t *tool) checkBackup(dir string, by backup.Means) error {
	m, err := backup.Open(dir)
	how := ""
	if err == nil && m.Encryption != "" {
		how = "; nothing was decrypted, as no key was given"
		if len(by.Identities) > 0 || by.Passphrase != "" {
			how = "; all of it was decrypted"
			m, _, err = backup.Unlock(dir, by)
		}
	}
	if err != nil {
		return err
	}
	return t.print(m, func(w io.Writer) {
		printf(w, "backup of %s by tapctl %s, NATS server %s, %s: every file is what was written%s\n", m.Ended.Format(time.RFC3339), m.Tapline, m.Server, inClear(m), how)
	})
}

func printRestored(w io.Writer, r *backup.Restored) {
	printf(w, "everything is as it was at %s; the ledger was rebuilt: %d jobs, %d batches of rows, of these %d confirmed\n",
		r.Begun.Format(time.RFC3339), r.Ledger.Jobs, r.Ledger.Made, r.Ledger.Confirmed)
	if r.Strays > 0 {
		printf(w, "%d letters about messages that are not in the backup were left out of DEAD\n", r.Strays)
	}
	for _, c := range r.Closed {
		printf(w, "pool %s of tenant %s is closed until %s: the calls since the backup are unknown\n", c.Pool, c.Tenant, c.Until.UTC().Format(time.RFC3339))
	}
	if len(r.Closed) > 0 {
		printf(w, "tapctl quota open POOL opens a pool when you know that its calls are not used up\n")
	}
}

// offline runs a command with a connection: to the NATS server, or to one of its own over the data
// of a tapline that is stopped.
func (t *tool) offline(cmd *cobra.Command, data string, work func(ctx context.Context, c Config, b *bus.Bus) error) error {
	if data == "" {
		return t.connected(cmd, work)
	}
	var c Config
	if err := config.Load(&c, t.Environ); err != nil {
		return err
	}
	if _, err := os.Stat(data); err != nil {
		return config.Invalid("--data-dir", data, "want the DATA_DIR of a tapline: "+err.Error())
	}
	log := telemetry.NewLogger(t.Stderr, telemetry.Config{LogLevel: slog.LevelWarn})
	server, err := embedded.Start(embedded.Options{Dir: filepath.Join(data, "nats"), Keys: c.Keys, Log: log})
	if err != nil {
		return err
	}
	defer server.Stop()
	b, err := server.Connect("tapctl")
	if err != nil {
		return fmt.Errorf("open %s: %w", data, err)
	}
	defer b.Close()
	return work(cmd.Context(), c, b)
}
