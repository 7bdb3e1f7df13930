package tapctl

import (
	"time"

	"github.com/tapline/tapline/pkg/config"
)

// instant reads a flag that is a time or an age, neither after now.
func instant(flag, text string, now time.Time) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		age, err := config.ParseAge(text)
		if err != nil || age < 0 {
			return at, config.Invalid(flag, text, "want RFC 3339, such as "+now.UTC().Format(time.RFC3339)+", or an age such as 2h or 7d")
		}
		at = now.Add(-age)
	}
	if at.After(now) {
		return at, config.Invalid(flag, text, "lies in the future; it is now "+now.UTC().Format(time.RFC3339))
	}
	return at.UTC(), nil
}
