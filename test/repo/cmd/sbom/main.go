// Command sbom writes a bill of materials, in CycloneDX: of binaries, what the Go toolchain has
// noted in each about the modules it is made of; of an image, its binaries and the packages of its
// distribution. Licences of modules are those of deploy/licenses.txt.
//
//	sbom VERSION BINARY...
//	sbom image NAME ID ROOT.tar     ROOT.tar is what docker export writes
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"github.com/tapline/tapline/test/repo/licenses"
)

const product = "pkg:golang/github.com/tapline/tapline"

var errUsage = errors.New("want sbom VERSION BINARY, one or more, or sbom image NAME ID ROOT.tar")

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) < 2 {
		return errUsage
	}
	known, err := licenses.Read(".")
	if err != nil {
		return err
	}
	b := &bill{known: known, components: map[string]cdx.Component{}, depends: map[string][]string{}}
	if args[0] == "image" {
		if len(args) != 4 {
			return errUsage
		}
		err = b.image(args[1], args[2], args[3])
	} else {
		err = b.binaries(args[0], args[1:])
	}
	if err != nil {
		return err
	}
	return b.write(out)
}

// bill is what is known so far: components by reference, and which has which in it.
type bill struct {
	known      map[string]string
	whole      cdx.Component
	components map[string]cdx.Component
	depends    map[string][]string
}

func (b *bill) binaries(version string, paths []string) error {
	b.whole = cdx.Component{
		BOMRef: product + "@" + version, Type: cdx.ComponentTypeApplication, Name: "tapline", Version: version, PackageURL: product + "@" + version,
		Licenses: &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
	}
	for _, path := range paths {
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		data, err := os.ReadFile(path) //nolint:gosec // the caller names the file
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		b.binary(filepath.Base(path), version, sha256.Sum256(data), info)
	}
	return nil
}

// binary adds a program and the modules in it, Go's own library among them.
func (b *bill) binary(name, version string, sum [sha256.Size]byte, info *buildinfo.BuildInfo) {
	c := cdx.Component{
		BOMRef: b.whole.BOMRef + "#" + name, Type: cdx.ComponentTypeApplication, Name: name, Version: version,
		Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
	}
	b.add(b.whole.BOMRef, c)
	b.add(c.BOMRef, b.library("std", strings.TrimPrefix(info.GoVersion, "go"), ""))
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			dep = dep.Replace
		}
		if dep.Version == "" || strings.HasPrefix(dep.Path, "github.com/tapline/") {
			continue // a module of this repository
		}
		b.add(c.BOMRef, b.library(dep.Path, dep.Version, dep.Sum))
	}
}

func (b *bill) add(to string, c cdx.Component) {
	b.components[c.BOMRef] = c
	b.depends[to] = append(b.depends[to], c.BOMRef)
}

func (b *bill) write(out io.Writer) error {
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Component: &b.whole}
	bom.Components, bom.Dependencies = &[]cdx.Component{}, &[]cdx.Dependency{}
	for _, ref := range sorted(b.components) {
		*bom.Components = append(*bom.Components, b.components[ref])
	}
	for _, ref := range sorted(b.depends) {
		list := b.depends[ref]
		slices.Sort(list)
		list = slices.Compact(list)
		*bom.Dependencies = append(*bom.Dependencies, cdx.Dependency{Ref: ref, Dependencies: &list})
	}
	if err := cdx.NewBOMEncoder(out, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

func sorted[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// library is a module; sum is the one of go.sum, "h1:" and a SHA-256 over its files.
func (b *bill) library(path, version, sum string) cdx.Component {
	url := "pkg:golang/" + path + "@" + version
	c := cdx.Component{BOMRef: url, Type: cdx.ComponentTypeLibrary, Name: path, Version: version, PackageURL: url}
	if raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sum, "h1:")); err == nil && len(raw) == sha256.Size {
		c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(raw)}}
	}
	if license := b.known[path]; license != "" {
		c.Licenses = &cdx.Licenses{{Expression: license}}
	}
	return c
}
