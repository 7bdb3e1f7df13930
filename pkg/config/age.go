package config

import (
	"strings"
	"time"
)

// ParseAge reads a number of days such as 7d or 0.5d, or a duration such as 12h.
func ParseAge(raw string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(raw, "d"); ok {
		d, err := time.ParseDuration(days + "h")
		return d * 24, err
	}
	return time.ParseDuration(raw)
}
