package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Registry resolves tags.
type Registry struct {
	// Mirror is the address of a registry that has all images, such as https://mirror.example.org;
	// empty means the registry of each image's name, which is Docker's own where the name has none.
	Mirror string
	Client *http.Client
}

// kinds of manifests that have a digest which every platform can pull.
const kinds = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, " +
	"application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"

const (
	maxManifest = 4 << 20
	patience    = 30 * time.Second
)

var (
	// ErrRegistry means that a registry did not say what a tag is.
	ErrRegistry = errors.New("registry")

	parameter = regexp.MustCompile(`(\w+)="([^"]*)"`)
)

// Update asks for the digest of every image, and then writes the list and the files that use it. If
// one image cannot be resolved nothing is written.
func Update(ctx context.Context, root string, r Registry) ([]Image, error) {
	all, err := Read(root)
	if err != nil {
		return nil, err
	}
	for n := range all {
		if all[n].Digest, err = r.Digest(ctx, all[n]); err != nil {
			return nil, err
		}
	}
	if err := write(root, all); err != nil {
		return nil, err
	}
	_, err = Spread(root, all, false)
	return all, err
}

// Digest is the digest of what a tag means now: that of the bytes which the registry sent.
func (r Registry) Digest(ctx context.Context, i Image) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	base, repository := r.place(i.Repository)
	address := base + "/v2/" + repository + "/manifests/" + i.Tag
	resp, err := r.get(ctx, address, "")
	if err != nil {
		return "", err
	}
	if resp.StatusCode == http.StatusUnauthorized {
		_ = resp.Body.Close()
		token, err := r.token(ctx, resp.Header.Get("WWW-Authenticate"))
		if err != nil {
			return "", err
		}
		if resp, err = r.get(ctx, address, token); err != nil {
			return "", err
		}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%w: %s: %s", ErrRegistry, address, resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w", ErrRegistry, address, err)
	}
	if len(data) > maxManifest || !json.Valid(data) {
		return "", fmt.Errorf("%w: %s: want a manifest of at most %d bytes in JSON", ErrRegistry, address, maxManifest)
	}
	sum := sha256.Sum256(data)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	if said := resp.Header.Get("Docker-Content-Digest"); said != "" && said != digest {
		return "", fmt.Errorf("%w: %s: the manifest has digest %s, and the registry says %s", ErrRegistry, address, digest, said)
	}
	return digest, nil
}

// place is the registry of an image and its name there.
func (r Registry) place(repository string) (base, name string) {
	base = "https://registry-1.docker.io"
	if host, rest, ok := strings.Cut(repository, "/"); ok && strings.ContainsAny(host, ".:") {
		base, repository = "https://"+host, rest
	} else if !ok {
		repository = "library/" + repository
	}
	if r.Mirror != "" {
		base = strings.TrimRight(r.Mirror, "/")
	}
	return base, repository
}

func (r Registry) get(ctx context.Context, address, token string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRegistry, err)
	}
	req.Header.Set("Accept", kinds)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := r.Client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRegistry, err)
	}
	return resp, nil
}

// token gets the right to pull without a password, as the registry's challenge describes.
func (r Registry) token(ctx context.Context, challenge string) (string, error) {
	said := map[string]string{}
	for _, m := range parameter.FindAllStringSubmatch(challenge, -1) {
		said[m[1]] = m[2]
	}
	realm, err := url.Parse(said["realm"])
	if err != nil || said["realm"] == "" || !strings.HasPrefix(challenge, "Bearer ") {
		return "", fmt.Errorf("%w: wants a password: %q", ErrRegistry, challenge)
	}
	query := realm.Query()
	query.Set("service", said["service"])
	query.Set("scope", said["scope"])
	realm.RawQuery = query.Encode()
	resp, err := r.get(ctx, realm.String(), "")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct {
		Token  string `json:"token"`
		Access string `json:"access_token"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxManifest)).Decode(&answer); err != nil || answer.Token+answer.Access == "" {
		return "", fmt.Errorf("%w: %s gives no token: %s", ErrRegistry, realm.Host, resp.Status)
	}
	if answer.Token == "" {
		return answer.Access, nil
	}
	return answer.Token, nil
}
