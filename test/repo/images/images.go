package images

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// List is the file that names the images.
const List = "deploy/images.env"

// users are the files that use them.
var users = []string{"docker-compose.yml", "deploy/cluster.yml", "deploy/Dockerfile", "deploy/k8s/nats/nats.yaml"}

// Image is a line of the list.
type Image struct {
	Variable, Repository, Tag string
	Digest                    string // empty: the tag may move
}

// String is how compose and Kubernetes spell it.
func (i Image) String() string {
	s := i.Repository + ":" + i.Tag
	if i.Digest != "" {
		s += "@" + i.Digest
	}
	return s
}

var (
	line = regexp.MustCompile(`^([A-Z]+_IMAGE)=([a-z0-9][a-z0-9._/:-]*):([A-Za-z0-9_][A-Za-z0-9_.-]*)(?:@(sha256:[0-9a-f]{64}))?$`)

	// ErrList means that the list of images is not usable.
	ErrList = errors.New("list of images")
)

// Read reads the list.
func Read(root string) ([]Image, error) {
	data, err := os.ReadFile(filepath.Join(root, List)) //nolint:gosec // the caller names the repository
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrList, err)
	}
	var all []Image
	for text := range strings.Lines(string(data)) {
		text = strings.TrimSpace(text)
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		m := line.FindStringSubmatch(text)
		if m == nil {
			return nil, fmt.Errorf("%w: %s: %q: want NAME_IMAGE=repository:tag, with or without @sha256:DIGEST", ErrList, List, text)
		}
		all = append(all, Image{m[1], m[2], m[3], m[4]})
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: %s names none", ErrList, List)
	}
	return all, nil
}

// write puts what has changed into the list; comments stay.
func write(root string, all []Image) error {
	path := filepath.Join(root, List)
	data, err := os.ReadFile(path) //nolint:gosec // the caller names the repository
	if err != nil {
		return fmt.Errorf("%w: %w", ErrList, err)
	}
	for _, i := range all {
		data = regexp.MustCompile(`(?m)^`+i.Variable+`=.*$`).ReplaceAll(data, []byte(i.Variable+"="+i.String()))
	}
	return replace(path, data)
}

// Spread copies the images to the files that use them, and returns which it changed. With dry set
// it only looks.
func Spread(root string, all []Image, dry bool) (changed []string, err error) {
	for _, name := range users {
		path := filepath.Join(root, name)
		data, err := os.ReadFile(path) //nolint:gosec // the names stand in this file
		if err != nil {
			return changed, fmt.Errorf("%w: %w", ErrList, err)
		}
		after := slices.Clone(data)
		for _, i := range all {
			after = i.mention().ReplaceAll(after, []byte("${1}"+i.String()))
		}
		if bytes.Equal(after, data) {
			continue
		}
		changed = append(changed, name)
		if dry {
			continue
		}
		if err := replace(path, after); err != nil {
			return changed, err
		}
	}
	return changed, nil
}

// mention finds an image wherever a file names one: after "image: ", ":-" or "=".
func (i Image) mention() *regexp.Regexp {
	return regexp.MustCompile(`((?:image: |:-|_IMAGE=))` + regexp.QuoteMeta(i.Repository) + `:[A-Za-z0-9_][A-Za-z0-9_.-]*(?:@sha256:[0-9a-f]{64})?`)
}

// replace puts a file in place as a whole.
func replace(path string, data []byte) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.WriteFile(path+".new", data, info.Mode().Perm()); err != nil { //nolint:gosec // the names stand in this package
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
