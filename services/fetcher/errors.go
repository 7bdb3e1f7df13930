package fetcher

import "errors"

var (
	errUnknownTenant = errors.New("unknown tenant")
	errBadJob        = errors.New("job cannot be run")
	errTooEarly      = errors.New("the job is planned before its time")
	errCoolingDown   = errors.New("cooling down after a failure at Proofpoint")
	errNoRoom        = errors.New("RAW cannot take what would be fetched")
	errCut           = errors.New("the window was cut during the call")
	errDeadFull      = errors.New("DEAD cannot take the malformed entries of an answer; make room or raise STREAM_DEAD_MAX_BYTES")
	errSpent         = errors.New("windows that fail have used up their share of the calls")
)
