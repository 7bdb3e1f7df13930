// Package proofpoint calls the Proofpoint TAP API.
//
// One call of [Client.SIEM], [Client.List] or [Client.One] is one HTTP request: there are no
// retries, and the transport cannot make any of its own where an attempt takes a unit of a daily
// limit; endpoints without one share connections. The body is split into records while it arrives;
// memory does not grow with it. Each record is handed over exactly as it was received.
//
// An answer is status 200 with one JSON object that is complete, to its last byte and through
// decompression, or 204 without a body where nothing may be an answer. Whether the answer of a SIEM
// call proves that its window was read is another question: [Evidence] is what it says about that,
// and [Evidence.Flaw] judges it. Anything else fails the call as a whole. A body that began as an
// object and ended early or broke is [Truncated] or [Malformed]: less of it may come through. One
// that is something else (nothing, a page, syslog lines, an array, text behind the object, no array
// where one should be) is [Odd]: it is redelivered however short the window is.
//
// Bytes, records, nesting, headers, time and expansion of an answer have bounds, which package
// bound lists. An answer beyond them is [TooLarge], or timed out.
//
// An array element that is not a JSON object, while the framing around it holds, is handed over as
// malformed, and the others are read. So is one with a raw control character in a string. One that
// is larger than a record may be comes in pieces, in bounded memory. A good click or message that
// is all in memory is not framed but identified, which tells its end, too.
//
// A list is split in the same way, and what stands around its entries is handed over beside them; a
// list without its array is odd. An answer about one id is taken whole; one that is larger than a
// record may be is malformed.
//
// Every failure is an [*APIError] that says what kind it is. A kind says what the answer says.
// Answers may come from proxies and caches, so no kind proves anything about the window;
// [Response.Served] tells whose Date is Proofpoint's clock.
package proofpoint
