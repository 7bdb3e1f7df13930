// Package telemetry is how a service shows what it does: structured logs,
// Prometheus metrics and the probes /livez and /readyz.
//
//   - /livez fails when a loop that promised to turn has not turned in time.
//   - /readyz fails while a part says it cannot make progress. A part that works
//     but suffers from something outside (a sink that is down, a 429) is
//     *degraded*: shown by /readyz, and still ready.
//   - /metrics serves the process's own registry; nothing is registered globally.
package telemetry
