// Package heartbeat lets each program say in STATE that it runs, and which programs are silent.
//
// A program writes its heartbeat every 30 seconds under "heartbeat.<tenant>.<stage>.<instance>",
// with its version and with what its probes say. The last one says that it ended as asked. A
// heartbeat that is a day old is deleted by the scheduler. An instance is one process of one host,
// so that a container that restarts in a loop leaves one key.
//
// A heartbeat is also a trial of the bus: while it cannot be written the program is not ready,
// because nothing else that it says can be stored either.
//
// [Start] keeps the heartbeat of one stage, and may watch other stages: one without a heartbeat for
// two minutes raises the alarm stage-silent. The scheduler watches the others; the shipper watches
// the scheduler. [Read] gives a line for each stage that should run.
package heartbeat
