package proofpoint

import (
	"io"

	"github.com/tapline/tapline/pkg/feed"
)

// SplitEvidence is the evidence of a body alone.
func SplitEvidence(r io.Reader, feeds []feed.Feed) (Evidence, error) {
	return split(r, siemArrays(feeds), defaultMaxRecord, func(Record) error { return nil })
}
