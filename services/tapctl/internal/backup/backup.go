// Package backup copies the streams and buckets into a folder, and brings them back.
//
//	folder/
//	  STATE ... QUOTA   one file for each stream or bucket, in the form of the NATS server
//	  manifest.json     what they are, with checksums; written last: without it there is no backup
//
// A backup may be taken while everything runs. What makes it one moment, though its parts are taken one after the other, is
// their order ([bus.Parts]) and what a restore does with it: see [Restore].
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

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/program"
	"github.com/tapline/tapline/pkg/step"
)

// format is raised when an older program must not read what is written.
const format = 1

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
	Format  int         `json:"format"`
	Tapline string      `json:"tapline"` // version of the program that wrote it
	Server  string      `json:"server"`  // version of the NATS server
	Begun   time.Time   `json:"begun"`
	Ended   time.Time   `json:"ended"`
	Floors  []bus.Floor `json:"floors"` // when it began
	Parts   []Part      `json:"parts"`  // in the order in which they were taken
}

// Part is one stream or bucket.
type Part struct {
	Stream string    `json:"stream"`
	File   string    `json:"file"`
	Bytes  int64     `json:"bytes"`
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

// Take writes a backup into a folder that is empty or does not exist. tell is called for each part.
func Take(ctx context.Context, b source, dir string, tell func(Part)) (*Manifest, error) {
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
	step.At("backup.begun")
	for _, stream := range bus.Parts() {
		p := Part{Stream: stream, File: strings.TrimPrefix(stream, "KV_"), At: time.Now().UTC()}
		if err := p.take(ctx, b, dir); err != nil {
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

func (p *Part) take(ctx context.Context, b source, dir string) (err error) {
	f, err := os.OpenFile(filepath.Join(dir, p.File), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the operator names the folder
	if err != nil {
		return err
	}
	sum, size := sha256.New(), &counter{}
	p.Snapshot, err = b.Snapshot(ctx, p.Stream, io.MultiWriter(f, sum, size))
	step.At("backup.copied")
	if err == nil {
		err = f.Sync()
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
	f, err := os.OpenFile(filepath.Join(dir, manifestName+".new"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // as above
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	step.At("backup.listed")
	if err := os.Rename(f.Name(), filepath.Join(dir, manifestName)); err != nil {
		return err
	}
	step.At("backup.whole")
	d, err := os.Open(dir) //nolint:gosec // the operator names the folder
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Open reads the manifest of a backup and checks every file against it.
func Open(dir string) (*Manifest, error) {
	data, err := os.ReadFile(filepath.Join(dir, manifestName)) //nolint:gosec // the operator names the folder
	if err != nil {
		return nil, fmt.Errorf("%w in %s, or an incomplete one: %w", ErrNoBackup, dir, err)
	}
	m := &Manifest{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, manifestName, err)
	}
	if m.Format != format {
		return nil, fmt.Errorf("%w: format %d was written by tapctl %q, and this one reads format %d", ErrNoBackup, m.Format, m.Tapline, format)
	}
	for _, stream := range bus.Parts() {
		if m.part(stream) == nil {
			return nil, fmt.Errorf("%w: %s: no %s", ErrDamaged, manifestName, stream)
		}
	}
	for i := range m.Parts {
		p := &m.Parts[i]
		if !slices.Contains(bus.Parts(), p.Stream) || p.File != strings.TrimPrefix(p.Stream, "KV_") {
			return nil, fmt.Errorf("%w: %s: %q in file %q is no stream of Tapline", ErrDamaged, manifestName, p.Stream, p.File)
		}
		if err := p.check(dir); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (p *Part) check(dir string) error {
	f, err := os.Open(filepath.Join(dir, p.File)) //nolint:gosec // the operator names the folder; the file is one of ours
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if n != p.Bytes || hex.EncodeToString(sum.Sum(nil)) != p.SHA256 {
		return fmt.Errorf("%w: %s is not what was written: %d bytes of %d, or another checksum", ErrDamaged, p.File, n, p.Bytes)
	}
	return nil
}
