// Command sbom writes a bill of materials, in CycloneDX, of binaries: what the Go
// toolchain has noted in each about the modules it is made of.
//
//	sbom VERSION BINARY...
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
)

const product = "pkg:golang/github.com/tapline/tapline"

var errUsage = errors.New("want sbom VERSION BINARY, one or more")

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) < 2 {
		return errUsage
	}
	version, binaries := args[0], args[1:]
	whole := cdx.Component{
		BOMRef: product + "@" + version, Type: cdx.ComponentTypeApplication, Name: "tapline", Version: version, PackageURL: product + "@" + version,
		Licenses: &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
	}
	components, depends := map[string]cdx.Component{}, map[string][]string{}
	for _, path := range binaries {
		c, modules, err := read(path, version)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		components[c.BOMRef] = c
		depends[whole.BOMRef] = append(depends[whole.BOMRef], c.BOMRef)
		for _, m := range modules {
			components[m.BOMRef] = m
			depends[c.BOMRef] = append(depends[c.BOMRef], m.BOMRef)
		}
	}
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Component: &whole}
	bom.Components, bom.Dependencies = &[]cdx.Component{}, &[]cdx.Dependency{}
	for _, ref := range sorted(components) {
		*bom.Components = append(*bom.Components, components[ref])
	}
	for _, ref := range sorted(depends) {
		slices.Sort(depends[ref])
		list := depends[ref]
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

// read describes a binary and the modules in it, Go's own library among them.
func read(path, version string) (binary cdx.Component, modules []cdx.Component, err error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return binary, nil, err
	}
	data, err := os.ReadFile(path) //nolint:gosec // whoever calls it names the file
	if err != nil {
		return binary, nil, err
	}
	sum := sha256.Sum256(data)
	name := filepath.Base(path)
	binary = cdx.Component{
		BOMRef: product + "@" + version + "#" + name, Type: cdx.ComponentTypeApplication, Name: name, Version: version,
		Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
	}
	modules = append(modules, library("std", strings.TrimPrefix(info.GoVersion, "go"), ""))
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			dep = dep.Replace
		}
		if dep.Version == "" || strings.HasPrefix(dep.Path, "github.com/tapline/") {
			continue // a module of this repository
		}
		modules = append(modules, library(dep.Path, dep.Version, dep.Sum))
	}
	return binary, modules, nil
}

// library is a module; sum is the one of go.sum, "h1:" and a SHA-256 over its files.
func library(path, version, sum string) cdx.Component {
	url := "pkg:golang/" + path + "@" + version
	c := cdx.Component{BOMRef: url, Type: cdx.ComponentTypeLibrary, Name: path, Version: version, PackageURL: url}
	if raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sum, "h1:")); err == nil && len(raw) == sha256.Size {
		c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(raw)}}
	}
	return c
}
