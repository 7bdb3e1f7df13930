package config

import "log/slog"

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
