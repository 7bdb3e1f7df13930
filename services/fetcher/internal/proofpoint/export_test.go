package proofpoint

import (
	"io"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/fetcher/internal/bound"
)

// SplitEvidence is the evidence of a body alone.
func SplitEvidence(r io.Reader, feeds []feed.Feed) (Evidence, error) {
	return split(r, siemArrays(feeds), bound.Record, func(Record) error { return nil })
}
