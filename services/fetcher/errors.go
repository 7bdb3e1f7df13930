package fetcher

import "errors"

var (
	errUnknownTenant = errors.New("unknown tenant")
	errBadJob        = errors.New("job cannot be run")
	errResting       = errors.New("resting after a failure at Proofpoint")
)
