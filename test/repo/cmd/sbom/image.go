package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// image describes the file system of an image: every Go program in it, and the packages that the
// databases of Alpine and Debian name.
func (b *bill) image(name, id, root string) error {
	b.whole = cdx.Component{BOMRef: "image:" + name, Type: cdx.ComponentTypeContainer, Name: name, Version: id}
	file, err := os.Open(root) //nolint:gosec // the caller names the file
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer file.Close()
	for r := tar.NewReader(file); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if err := b.file(strings.TrimPrefix(header.Name, "./"), header.Mode&0o111 != 0, r); err != nil {
			return fmt.Errorf("%s: %s: %w", name, header.Name, err)
		}
	}
	if len(b.components) == 0 {
		return fmt.Errorf("%s: %w", name, errNothing)
	}
	return nil
}

var errNothing = errors.New("holds no Go program and no package that is known")

func (b *bill) file(name string, executable bool, r io.Reader) error {
	switch {
	case name == "lib/apk/db/installed" || name == "usr/lib/apk/db/installed":
		return b.packages(r, "alpine", "P:", "V:", "L:")
	case name == "var/lib/dpkg/status" || path.Dir(name) == "var/lib/dpkg/status.d":
		return b.packages(r, "debian", "Package: ", "Version: ", "")
	case executable:
		return b.program(name, r)
	}
	return nil
}

// program adds a file if the Go toolchain made it.
func (b *bill) program(name string, r io.Reader) error {
	magic := make([]byte, 4)
	if n, _ := io.ReadFull(r, magic); n < len(magic) || !bytes.Equal(magic, []byte("\x7fELF")) {
		return nil // a script, or nothing
	}
	file, err := os.CreateTemp("", "sbom-")
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	defer os.Remove(file.Name())
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(file, sum), io.MultiReader(bytes.NewReader(magic), r)); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	info, err := buildinfo.Read(file)
	if err != nil {
		return nil // a program of another language: its package names it
	}
	version := info.Main.Version
	if strings.HasPrefix(info.Main.Path, "github.com/tapline/") {
		_, version, _ = strings.Cut(b.whole.Name, ":")
	}
	b.binary("/"+name, version, [sha256.Size]byte(sum.Sum(nil)), info)
	return nil
}

// packages reads a database of paragraphs with a line for the name, the version and the licence of
// each.
func (b *bill) packages(r io.Reader, system, name, version, license string) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("read packages: %w", err)
	}
	kind := map[string]string{"alpine": "apk", "debian": "deb"}[system]
	for paragraph := range strings.SplitSeq(string(data), "\n\n") {
		var c cdx.Component
		for line := range strings.Lines(paragraph) {
			line = strings.TrimSpace(line)
			if v, ok := strings.CutPrefix(line, name); ok {
				c.Name = v
			} else if v, ok := strings.CutPrefix(line, version); ok {
				c.Version = v
			} else if v, ok := strings.CutPrefix(line, license); ok && license != "" {
				c.Licenses = &cdx.Licenses{{Expression: v}}
			}
		}
		if c.Name == "" {
			continue
		}
		c.Type, c.PackageURL = cdx.ComponentTypeLibrary, "pkg:"+kind+"/"+system+"/"+c.Name+"@"+c.Version
		c.BOMRef = c.PackageURL
		b.add(b.whole.BOMRef, c)
	}
	return nil
}
