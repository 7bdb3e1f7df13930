package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"github.com/tapline/tapline/pkg/config"
)

const (
	// ageEncryption stands in the manifest of a backup whose files are encrypted, and extension in
	// their names.
	ageEncryption = "age"
	extension     = ".age"
	// identityName is the file with the key of a backup that has a passphrase. The passphrase
	// protects this file, and this file the others: to try a passphrase takes a second and 256 MiB
	// by design, which is well spent once.
	identityName = "identity" + extension
	// identityMax bounds that file.
	identityMax = 64 << 10
	// minPassphrase keeps out what can be guessed.
	minPassphrase = 12
)

// ErrLocked says that a backup is encrypted, and that nothing at hand opens it.
var ErrLocked = errors.New("backup is encrypted")

// Lock says for whom a backup is encrypted. The zero value leaves it in clear.
type Lock struct {
	Recipients []age.Recipient
	Passphrase config.Secret // instead of recipients
}

// Means open an encrypted backup.
type Means struct {
	Identities []age.Identity
	Passphrase config.Secret
}

// LockFlags are what the command line says about a [Lock].
type LockFlags struct {
	Recipients     []string // age1...
	RecipientsFile string   // with one on each line
	PassphraseFile string
}

// MeansFlags are what the command line says about [Means].
type MeansFlags struct {
	IdentityFiles  []string
	PassphraseFile string
}

// Lock reads the files.
func (f LockFlags) Lock() (Lock, error) {
	var l Lock
	for _, text := range f.Recipients {
		r, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil {
			return Lock{}, config.Invalid("--recipient", text, "want a public key of age, age1..., as age-keygen prints it")
		}
		l.Recipients = append(l.Recipients, r...)
	}
	if f.RecipientsFile != "" {
		r, err := parsed(f.RecipientsFile, age.ParseRecipients)
		if err != nil {
			return Lock{}, config.Invalid("--recipients-file", f.RecipientsFile, "want public keys of age, one on each line: "+err.Error())
		}
		l.Recipients = append(l.Recipients, r...)
	}
	var err error
	if l.Passphrase, err = passphrase(f.PassphraseFile); err == nil && l.Passphrase != "" && len(l.Recipients) > 0 {
		err = config.Invalid("--passphrase-file", f.PassphraseFile, "want either recipients or a passphrase, not both")
	}
	return l, err
}

// Means reads the files.
func (f MeansFlags) Means() (Means, error) {
	var m Means
	for _, path := range f.IdentityFiles {
		ids, err := parsed(path, age.ParseIdentities)
		if err != nil { // the text of the error may have a part of the key in it
			return Means{}, config.Invalid("--identity-file", path, "want a file of age-keygen, with AGE-SECRET-KEY-1... on a line")
		}
		m.Identities = append(m.Identities, ids...)
	}
	var err error
	m.Passphrase, err = passphrase(f.PassphraseFile)
	return m, err
}

func parsed[T any](path string, parse func(io.Reader) (T, error)) (none T, err error) {
	f, err := os.Open(path) //nolint:gosec // the operator names it
	if err != nil {
		return none, err
	}
	defer f.Close()
	return parse(f)
}

func passphrase(path string) (config.Secret, error) {
	if path == "" {
		return "", nil
	}
	data, err := os.ReadFile(path) //nolint:gosec // the operator names it
	if err != nil {
		return "", config.Invalid("--passphrase-file", path, "cannot be read: "+err.Error())
	}
	text := strings.TrimRight(strings.TrimPrefix(string(data), "\ufeff"), "\r\n")
	if len(text) < minPassphrase {
		return "", config.Invalid("--passphrase-file", path, fmt.Sprintf("want a passphrase of %d or more letters in it", minPassphrase))
	}
	return config.Secret(text), nil
}

// recipients are those that parts are encrypted for; none if they stay in clear. A passphrase gets
// a key of its own for this backup, which is written beside the parts.
func (l Lock) recipients(dir string) ([]age.Recipient, error) {
	if l.Passphrase == "" {
		return l.Recipients, nil
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	lock, err := age.NewScryptRecipient(l.Passphrase.Reveal())
	if err != nil {
		return nil, err
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, lock)
	if err == nil {
		_, err = io.WriteString(w, id.String()+"\n")
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, err
	}
	return []age.Recipient{id.Recipient()}, writeFile(filepath.Join(dir, identityName), sealed.Bytes())
}

// identities are those that may open the parts.
func (m Means) identities(dir string) ([]age.Identity, error) {
	if m.Passphrase == "" {
		return m.Identities, nil
	}
	f, err := os.Open(filepath.Join(dir, identityName)) //nolint:gosec // the operator names the folder
	if err != nil {
		return nil, fmt.Errorf("%w for recipients, and not with a passphrase: want --identity-file: %w", ErrLocked, err)
	}
	defer f.Close()
	id, err := age.NewScryptIdentity(m.Passphrase.Reveal())
	if err != nil {
		return nil, err
	}
	r, err := age.Decrypt(io.LimitReader(f, identityMax), id)
	if err != nil {
		return nil, fmt.Errorf("%w, and the passphrase of --passphrase-file does not open it, or %s is damaged", ErrLocked, identityName)
	}
	ids, err := age.ParseIdentities(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrDamaged, identityName)
	}
	return append(ids, m.Identities...), nil
}

// sealing encrypts what is written to w. Without a recipient it passes it on.
func sealing(w io.Writer, to []age.Recipient) (io.WriteCloser, error) {
	if len(to) == 0 {
		return nopCloser{w}, nil
	}
	return age.Encrypt(w, to...)
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// opening decrypts what is read from r.
func (p *Part) opening(r io.Reader, ids []age.Identity) (io.Reader, error) {
	if filepath.Ext(p.File) != extension {
		return r, nil
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("%w: want --identity-file or --passphrase-file", ErrLocked)
	}
	plain, err := age.Decrypt(r, ids...)
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return nil, fmt.Errorf("%w for other recipients: no key of --identity-file opens %s", ErrLocked, p.File)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, p.File, err)
	}
	return plain, nil
}
