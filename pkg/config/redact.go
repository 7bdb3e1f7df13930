package config

import "regexp"

// Where secrets stand in addresses that somebody mistyped. What is wrong with them may be the very scheme, so they are not
// parsed: everything between the scheme, or the first colon, and the last @ may be a password.
var (
	userinfo = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*:/*)?.*:.*@|//.*@`)
	secrets  = regexp.MustCompile(`(?i)([?&;][^=&;]*(?:token|secret|password|passwd|key|auth|sig)[^=&;]*=)[^&;\s]*`)
)

// RedactAddress hides what may be a password in a value that is, or was meant to be, an address.
func RedactAddress(value string) string {
	value = userinfo.ReplaceAllString(value, "${1}"+Redacted+"@")
	return secrets.ReplaceAllString(value, "${1}"+Redacted)
}
