// Package proofpoint calls the Proofpoint TAP API.
//
// One call of [Client.SIEM], [Client.List] or [Client.One] is one HTTP request: there are no retries, and the
// transport cannot make any of its own where an attempt takes a unit of a daily
// limit; endpoints without one share connections. The body is split into records while it arrives; memory does
// not grow with it. Each record is handed over exactly as it was received.
//
// What a body must be to count: one JSON object that is complete, to its last
// byte and through decompression, with queryEndTime or at least one array the endpoint
// serves. An array that is missing or null is empty. Anything else fails the
// call as a whole. An array element that is not a JSON object, while the
// framing around it holds, is handed over as malformed, and the rest goes on.
// A good click or message that is all in memory is not framed but identified, which tells its end, too.
//
// A list is split in the same way, and what stands around its entries is handed over beside them. An answer about one
// id is taken whole; one that is larger than a record may be is malformed.
//
// Every failure is an [*APIError] that says what kind it is.
package proofpoint
