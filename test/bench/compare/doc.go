// Package compare sends the same rows to the same sink with Tapline's shipper and with what one
// would otherwise take, rsyslog and syslog-ng, and measures each. Run it with `make bench-compare`.
//
//	rows (tapsim) ─▶ file ─┬─▶ rsyslog, syslog-ng ──────┐
//	                       ├─▶ NATS server ─▶ shipper ──┼─▶ sink: counts and hashes each line
//	                       └─▶ a bare TLS connection ───┘
//
// Everything but the sink, the bare connection and the publisher into EVENTS is a process of its
// own.
package compare
