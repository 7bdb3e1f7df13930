package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Redacted is what a [Secret] shows instead of its value.
const Redacted = "[redacted]"

// Secret is a value that never prints: fmt, log/slog and encoders show
// [Redacted]. Only [Secret.Reveal] gives the value.
type Secret string

// Reveal returns the value itself. Call it where the value is used and nowhere else.
func (s Secret) Reveal() string { return string(s) }

// String hides the value.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return Redacted
}

// GoString hides the value from %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue hides the value from log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the value from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the value as it is.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = Secret(text)
	return nil
}

// Mark is the byte order mark that some editors begin a file with.
const Mark = "\ufeff"

// maxSecret bounds a file that holds one.
const maxSecret = 64 << 10

var (
	errNoText  = errors.New("holds no plain text: want the secret alone, in UTF-8")
	errLines   = errors.New("holds several lines or control characters: want the secret alone, on one line")
	errNothing = errors.New("the file is empty: it must hold the secret")
)

// ReadSecret reads a file that holds one secret. A mark at its beginning and blanks around it are
// none of it.
func ReadSecret(path string) (string, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return "", cannotRead(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", cannotRead(err)
	}
	if len(data) > maxSecret || !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 { // UTF-16, a key in binary form, a wrong file
		return "", errNoText
	}
	secret := strings.TrimSpace(strings.TrimPrefix(string(data), Mark))
	switch {
	case secret == "":
		return "", errNothing
	case strings.ContainsFunc(secret, unicode.IsControl):
		return "", errLines
	}
	return secret, nil
}

// cannotRead leaves the name out: the caller has it, and a secret may stand in its place.
func cannotRead(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err
	}
	return fmt.Errorf("cannot be read: %w", err)
}
