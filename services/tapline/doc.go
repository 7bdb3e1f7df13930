// Package tapline is all of Tapline in one process: an embedded NATS server
// without a port, and the four stages.
//
//	scheduler ──▶ fetcher ──▶ enricher ──▶ shipper ──▶ Devo
//	     └───────────┴─ embedded NATS ─┴──────┘
//
// It composes: the stages are the same packages, with the same New and Run,
// that the separate binaries use, and nothing exists only here. Stages start from the end, so that
// no stage publishes into a void, and stop from the front, so that the pipe drains.
//
// [Demo] adds a simulated Proofpoint and a simulated Devo, and compares the two at the end.
package tapline
