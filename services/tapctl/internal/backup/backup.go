// Package backup copies the streams and buckets into a folder, and brings them back.
//
//	folder/
//	  STATE ... QUOTA   one file for each stream or bucket, in the form of the NATS server
//	  manifest.json     what they are, with checksums; written last: without it there is no backup
//
// An encrypted backup has STATE.age ... QUOTA.age instead, and with a passphrase identity.age. Its
// manifest is in clear, so that a damage is found without a key. It names streams and counts
// messages.
//
// A backup may be taken while everything runs. What makes it one moment, though its parts are taken
// one after the other, is their order ([bus.Parts]) and what a restore does with it: see [Restore].
package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/program"
	"github.com/tapline/tapline/pkg/step"
)

// format is raised when an older program must not read what is written.
const (
	format          = 1
	encryptedFormat = 2
)

const manifestName = "manifest.json"

var (
	// ErrNoBackup says that a folder has no complete backup.
	ErrNoBackup = errors.New("no backup")
	// ErrDamaged says that a file is not what was written.
	ErrDamaged = errors.New("backup is damaged")
	// ErrNotEmpty says that something is there already.
	ErrNotEmpty = errors.New("not empty")
)

// Manifest says what a backup holds.
type Manifest struct {
	Format     int         `json:"format"`
	Tapline    string      `json:"tapline"`              // version of the program that wrote it
	Server     string      `json:"server"`               // version of the NATS server
	Encryption string      `json:"encryption,omitempty"` // "age", or nothing
	Begun      time.Time   `json:"begun"`
	Ended      time.Time   `json:"ended"`
	Floors     []bus.Floor `json:"floors"` // when it began
	Parts      []Part      `json:"parts"`  // in the order in which they were taken
}

// Part is one stream or bucket.
type Part struct {
	Stream string    `json:"stream"`
	File   string    `json:"file"`
	Bytes  int64     `json:"bytes"` // of the file
	SHA256 string    `json:"sha256"`
	At     time.Time `json:"at"` // nothing that was stored before is missing
	bus.Snapshot
}

// part finds a part.
func (m *Manifest) part(stream string) *Part {
	i := slices.IndexFunc(m.Parts, func(p Part) bool { return p.Stream == stream })
	if i < 0 {
		return nil
	}
	return &m.Parts[i]
}

// source is the bus that is backed up.
type source interface {
	Floors(ctx context.Context) ([]bus.Floor, error)
	Snapshot(ctx context.Context, stream string, w io.Writer) (bus.Snapshot, error)
	ServerVersion() string
}

// Take writes a backup into a folder that is empty or does not exist. tell is called for each
// section.
func Take(ctx context.Context, b source, dir string, lock Lock, tell func(Part)) (*Manifest, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("backup: %s: %w: want a folder of its own for each backup", dir, ErrNotEmpty)
	}
	m := &Manifest{Format: format, Tapline: program.Version(), Server: b.ServerVersion(), Begun: time.Now().UTC()}
	if m.Floors, err = b.Floors(ctx); err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	to, err := lock.recipients(dir)
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	if len(to) > 0 {
		m.Format, m.Encryption = encryptedFormat, ageEncryption
	}
	step.At("backup.begun")
	for _, stream := range bus.Parts() {
		p := Part{Stream: stream, File: m.file(stream), At: time.Now().UTC()}
		if err := p.take(ctx, b, dir, to); err != nil {
			return nil, fmt.Errorf("backup: %w", err)
		}
		step.At("backup.part")
		m.Parts = append(m.Parts, p)
		tell(p)
	}
	m.Ended = time.Now().UTC()
	if err := m.write(dir); err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	return m, nil
}

// counter counts what passes.
type counter struct{ n int64 }

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// file is the name of the file of a stream.
func (m *Manifest) file(stream string) string {
	name := strings.TrimPrefix(stream, "KV_")
	if m.Encryption != "" {
		name += extension
	}
	return name
}

func (p *Part) take(ctx context.Context, b source, dir string, to []age.Recipient) (err error) {
	f, err := os.OpenFile(filepath.Join(dir, p.File), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the operator names the folder
	if err != nil {
		return err
	}
	sum, size := sha256.New(), &counter{}
	w, err := sealing(io.MultiWriter(f, sum, size), to)
	if err == nil {
		p.Snapshot, err = b.Snapshot(ctx, p.Stream, w)
	}
	step.At("backup.copied")
	if err == nil {
		err = errors.Join(w.Close(), f.Sync())
	}
	p.Bytes, p.SHA256 = size.n, hex.EncodeToString(sum.Sum(nil))
	return errors.Join(err, f.Close())
}

// write makes the folder a backup.
func (m *Manifest) write(dir string) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	made := filepath.Join(dir, manifestName+".new")
	if err := writeFile(made, data); err != nil {
		return err
	}
	step.At("backup.listed")
	if err := os.Rename(made, filepath.Join(dir, manifestName)); err != nil {
		return err
	}
	step.At("backup.whole")
	d, err := os.Open(dir) //nolint:gosec // the operator names the folder
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func writeFile(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the operator names the folder
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// maxManifest bounds the list of a backup, bytes: it has a dozen parts.
const maxManifest = 4 << 20

func readManifest(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names the folder
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err == nil && len(data) > maxManifest {
		err = fmt.Errorf("%w: it has more than %d bytes", ErrDamaged, maxManifest)
	}
	return data, err
}

// Open reads the manifest of a backup and checks every file against it.
func Open(dir string) (*Manifest, error) { return open(dir, nil) }

// Unlock opens a backup that may be encrypted, and decrypts every file to see that it can be done.
func Unlock(dir string, by Means) (*Manifest, []age.Identity, error) {
	ids, err := by.identities(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", dir, err)
	}
	if ids == nil {
		ids = []age.Identity{}
	}
	m, err := open(dir, ids)
	return m, ids, err
}

// open decrypts, too, unless there is no list of identities.
func open(dir string, ids []age.Identity) (*Manifest, error) {
	data, err := readManifest(filepath.Join(dir, manifestName))
	if err != nil {
		return nil, fmt.Errorf("%w in %s, or an incomplete one: %w", ErrNoBackup, dir, err)
	}
	m := &Manifest{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, manifestName, err)
	}
	if m.Format != format && (m.Format != encryptedFormat || m.Encryption != ageEncryption) {
		return nil, fmt.Errorf("%w: format %d was written by tapctl %q, and this one reads format %d", ErrNoBackup, m.Format, m.Tapline, encryptedFormat)
	}
	for _, stream := range bus.Parts() {
		if m.part(stream) == nil {
			return nil, fmt.Errorf("%w: %s: no %s", ErrDamaged, manifestName, stream)
		}
	}
	for i := range m.Parts {
		p := &m.Parts[i]
		if !slices.Contains(bus.Parts(), p.Stream) || p.File != m.file(p.Stream) {
			return nil, fmt.Errorf("%w: %s: %q in file %q is no stream of Tapline", ErrDamaged, manifestName, p.Stream, p.File)
		}
		if err := p.check(dir, ids); err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
	}
	return m, nil
}

// check reads a file as it is, and decrypts it on the way. Its checksum is looked at first: what
// was damaged is no question of keys.
func (p *Part) check(dir string, ids []age.Identity) error {
	f, err := os.Open(filepath.Join(dir, p.File)) //nolint:gosec // the operator names the folder; the file is one of ours
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer f.Close()
	sum, size := sha256.New(), &counter{}
	file := io.TeeReader(f, io.MultiWriter(sum, size))
	var locked error
	if ids != nil {
		plain, err := p.opening(file, ids)
		if err == nil {
			_, err = io.Copy(io.Discard, plain)
		}
		locked = err
	}
	if _, err := io.Copy(io.Discard, file); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if size.n != p.Bytes || hex.EncodeToString(sum.Sum(nil)) != p.SHA256 {
		return fmt.Errorf("%w: %s is not what was written: %d bytes of %d, or another checksum", ErrDamaged, p.File, size.n, p.Bytes)
	}
	if locked != nil && !errors.Is(locked, ErrLocked) {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, p.File, locked)
	}
	return locked
}
