package fetcher

import "errors"

var (
	errUnknownTenant = errors.New("unknown tenant")
	errBadJob        = errors.New("job cannot be run")
	errNotDue        = errors.New("the job is planned before its time")
	errResting       = errors.New("resting after a failure at Proofpoint")
)
