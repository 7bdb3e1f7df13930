// Package devohttp sends rows to Devo's HTTP ingestion, for networks that let no
// direct connection out:
//
//	POST <url>/stream/<domain>/token!<token>/<host>/<table>
//
// The body is the rows of one batch, one a line, compressed with gzip. A status of 2xx
// confirms the batch. Devo documents that it answers 200 at once and that this does not prove that
// the events are stored, so the proof is stronger than that of an acknowledged segment and
// weaker than that of reading back.
//
// Fails how: whatever is no 2xx, or no answer in time, finishes the connection; the
// shipper sends the batch again after a pause, or when Retry-After says. An answer that got lost
// means that rows arrive twice, with the same @tapline_id. Codes that speak of the credential (401,
// 403, 404) are reported like an outage: the rows wait. A batch that is refused with 400, 413 or
// 422 is halved until the refused rows are alone; what is then refused once more, after others of
// the table were taken, is a [RefusedError]. The token stands in the address, so no address is ever
// logged.
package devohttp
