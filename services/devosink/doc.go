// Package devosink is a stand-in for Devo's ingestion endpoint: syslog over mutual TLS, read the
// way the engine behind Devo's load balancers is known to read it. It serves for tests, for
// `tapline demo`, and for customers who want to rehearse an outage: it can be set to fail in the
// ways a real endpoint fails.
//
//	TLS ─▶ frames ─▶ header ─▶ store ─▶ queries
//
// Frames end at a newline, a carriage return or a zero byte, or have their length in front, or come
// inside gzip members; all three may be mixed on one connection. Whatever is
// left when a connection ends becomes an event too, marked as partial, since that is how a cut
// record shows up in Devo. Nothing is ever rejected, and nothing is ever written back.
//
// Devo's HTTP ingestion is there, too ([Sink.Ingest]), and answers; and as much of its query API
// ([Sink.Query]) as reading back needs.
package devosink
