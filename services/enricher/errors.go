package enricher

import "errors"

var (
	errNotAnObject   = errors.New("record is not a JSON object")
	errBadJob        = errors.New("unusable job")
	errLongRow       = errors.New("row is too long")
	errUnknownFeed   = errors.New("unknown feed")
	errUnknownTenant = errors.New("unknown tenant")
)
