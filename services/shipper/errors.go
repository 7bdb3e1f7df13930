package shipper

import "errors"

var (
	errUnknownTenant = errors.New("unknown tenant")
	errTooLong       = errors.New("row is too long")
	errControl       = errors.New("row has a control character")
	errNoTable       = errors.New("table is not a Devo tag")
	errIdle          = errors.New("connection is idle")
	errDrained       = errors.New("everything is confirmed")
	errGivenBack     = errors.New("message is given back")
	errOld           = errors.New("connection is old")
)
