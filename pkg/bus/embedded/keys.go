package embedded

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/tapline/tapline/pkg/config"
)

// Keys encrypt what a server keeps. Without a key it is in clear.
type Keys struct {
	Key      config.Secret `env:"NATS_ENCRYPTION_KEY" usage:"encrypts the streams on disk: 32 or more letters and digits; in clear if empty"`
	Previous config.Secret `env:"NATS_ENCRYPTION_PREVIOUS_KEY" usage:"the key before NATS_ENCRYPTION_KEY, while it is being replaced"`
	// Source is where the keys come from, for messages; the variables if empty.
	Source string
}

const (
	minKey = 32
	maxKey = 256
)

// Validate refuses what is no key, or what the file of a NATS server could not hold.
func (k Keys) Validate() error {
	var problems []error
	for name, key := range map[string]config.Secret{"NATS_ENCRYPTION_KEY": k.Key, "NATS_ENCRYPTION_PREVIOUS_KEY": k.Previous} {
		text := key.Reveal()
		unfit := strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"'\\`$", r) })
		if text != "" && (len(text) < minKey || len(text) > maxKey || unfit) {
			problems = append(problems, config.Invalid(k.named(name), config.Redacted,
				fmt.Sprintf("want %d to %d letters, digits and signs without quotes and spaces, as of: openssl rand -hex 32", minKey, maxKey)))
		}
	}
	if k.Key == "" && k.Previous != "" {
		problems = append(problems, config.Invalid(k.named("NATS_ENCRYPTION_PREVIOUS_KEY"), config.Redacted, "want the new key, too: NATS_ENCRYPTION_KEY_FILE"))
	}
	return errors.Join(problems...)
}

func (k Keys) named(variable string) string {
	if k.Source != "" {
		return k.Source
	}
	return variable
}

// keyfile is a file of the server with the random key of one block, stream or consumer. That key is
// sealed with one derived from the key of the store. This format is the server's; the tests hold it
// to a real one.
type keyfile struct {
	path    string
	info    string // the account, or the group of a cluster
	context string // what it belongs to
	data    string // the file that it is the key of
	log     bool   // of a cluster
}

// sealer derives what seals a key file: of streams with the cipher that the server calls aes, of
// the logs of a cluster always with the one that it calls chacha.
func (f keyfile) sealer(key config.Secret) (cipher.AEAD, error) {
	h := hmac.New(sha256.New, []byte(key.Reveal()))
	h.Write([]byte(f.info + f.context))
	if f.log {
		return chacha20poly1305.NewX(h.Sum(nil)) // no key of this length fails
	}
	block, err := aes.NewCipher(h.Sum(nil))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithNonceSize(block, aes.BlockSize)
}

// open reads the key inside.
func (f keyfile) open(key config.Secret, sealed []byte) (nonce, seed []byte, ok bool) {
	aead, err := f.sealer(key)
	if key == "" || err != nil || len(sealed) < aead.NonceSize() {
		return nil, nil, false
	}
	nonce = sealed[:aead.NonceSize()]
	seed, err = aead.Open(nil, nonce, sealed[aead.NonceSize():], nil)
	return nonce, seed, err == nil
}

// condition of what a key file protects.
type condition int

const (
	absent  condition = iota // nothing to protect
	clear                    // in clear
	current                  // the key opens it
	older                    // the previous key opens it
	foreign                  // no key opens it
)

// condition tells how the data of a key file lie on the disk.
func (f keyfile) condition(k Keys) (condition, error) {
	info, err := os.Stat(f.data)
	if errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0 {
		return absent, nil
	}
	if err != nil {
		return foreign, fmt.Errorf("look at the store: %w", err)
	}
	sealed, err := os.ReadFile(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return clear, nil
	}
	if err != nil {
		return foreign, fmt.Errorf("look at the store: %w", err)
	}
	if _, _, ok := f.open(k.Key, sealed); ok {
		return current, nil
	}
	if _, _, ok := f.open(k.Previous, sealed); ok {
		return older, nil
	}
	return foreign, nil
}

// reseal seals a key file with the new key. The nonce stays, because the server uses it for the
// block, too. The file is replaced at once: a process that dies leaves the old one or the new one.
func (f keyfile) reseal(k Keys, scratch string) error {
	sealed, err := os.ReadFile(f.path)
	if err != nil {
		return fmt.Errorf("replace a key: %w", err)
	}
	nonce, seed, ok := f.open(k.Previous, sealed)
	if !ok {
		return fmt.Errorf("replace a key: %s changed meanwhile: %w", f.path, errInUse)
	}
	aead, err := f.sealer(k.Key)
	if err != nil {
		return err
	}
	sealed = aead.Seal(append([]byte(nil), nonce...), nonce, seed, nil)
	out, err := os.OpenFile(scratch, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) //nolint:gosec // the operator names the directory
	if err != nil {
		return fmt.Errorf("replace a key: %w", err)
	}
	_, err = out.Write(sealed)
	if err = errors.Join(err, out.Sync(), out.Close()); err == nil {
		err = os.Rename(scratch, f.path)
	}
	if err != nil {
		return fmt.Errorf("replace a key: %w", err)
	}
	return syncPath(filepath.Dir(f.path))
}

// keyfiles lists the key files that a store has, or would have if it were encrypted: those of a
// stream after those of its blocks and consumers.
func keyfiles(store string) ([]keyfile, error) {
	l := lister{}
	for _, account := range l.names(store) {
		streams, groups := filepath.Join(store, account, "streams"), filepath.Join(store, account, "_js_")
		for _, stream := range l.names(streams) {
			batches := filepath.Join(streams, stream, "batches")
			for _, batch := range l.names(batches) {
				l.add(filepath.Join(batches, batch), keyfile{info: account, context: batch})
			}
			l.add(filepath.Join(streams, stream), keyfile{info: account, context: stream})
		}
		for _, group := range l.names(groups) {
			l.add(filepath.Join(groups, group), keyfile{info: group, context: group, log: true})
		}
	}
	if l.err != nil {
		return nil, fmt.Errorf("look at the store: %w", l.err)
	}
	return l.all, nil
}

type lister struct {
	all []keyfile
	err error
}

// names lists a directory, which need not exist.
func (l *lister) names(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		l.err = errors.Join(l.err, err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// add lists the key files of one stream, batch or log.
func (l *lister) add(dir string, of keyfile) {
	put := func(path, context, data string) {
		l.all = append(l.all, keyfile{path, of.info, of.context + context, data, of.log})
	}
	blocks, consumers := filepath.Join(dir, "msgs"), filepath.Join(dir, "obs")
	for _, block := range l.names(blocks) {
		if index, ok := strings.CutSuffix(block, ".blk"); ok {
			put(filepath.Join(blocks, index+".key"), ":"+index, filepath.Join(blocks, block))
		}
	}
	for _, c := range l.names(consumers) {
		put(filepath.Join(consumers, c, "meta.key"), "."+c, filepath.Join(consumers, c, "meta.inf"))
	}
	put(filepath.Join(dir, "meta.key"), "", filepath.Join(dir, "meta.inf"))
}
