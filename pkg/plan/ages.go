package plan

import (
	"fmt"
	"strings"
	"time"
)

// noAges is how no ages at all are spelled: an empty variable is one that is not set.
const noAges = "off"

// Ages are the ages at which an hour is read again, the youngest first.
type Ages []time.Duration

// UnmarshalText reads ages that commas separate, or "off".
func (a *Ages) UnmarshalText(text []byte) error {
	var ages Ages
	if value := strings.TrimSpace(string(text)); value != noAges {
		for piece := range strings.SplitSeq(value, ",") {
			age, err := time.ParseDuration(strings.TrimSpace(piece))
			if err != nil {
				return fmt.Errorf("%q is no duration: want such as 35m,6h,24h, or %s", piece, noAges)
			}
			ages = append(ages, age)
		}
	}
	*a = ages
	return nil
}
