// Package plan decides which windows are read and when. It is pure: a state, the
// present, what became of earlier jobs and the calls to be had go in; a new
// state and the jobs it wants outstanding come out. It does no I/O, and the same input
// gives the same output, so any number of schedulers agree.
//
// For one feed set the time line is
//
//	7 days ago      backfill next      backfill end = first head      head      now - margin
//	    ├── done ────────┼── to backfill ──────┼── done by live ─────────┼── next ────┤
//
// What holds after every step:
//
//   - Every instant between the start and the head is in a window that was read, in an
//     outstanding job, in the rest of backfill, or in a range given up as lost.
//   - Each hour is read again at each of the configured ages that it had not reached at its first
//     reading, by Proofpoint's clock, whatever the planner's clock said when it was planned. The last of these sweeps is repeated until it finds nothing; then the
//     hour is sealed. What could not be swept before Proofpoint ceased to serve it is
//     lost, though it was read: late records of it may be missing. See sweep.go.
//   - Windows of outstanding jobs do not meet: two calls that return the same record at
//     the same time could not know of each other.
//   - A live window begins where the last one ended, or some minutes earlier where that has been read
//     already, to find what Proofpoint made visible meanwhile: a longer window is
//     not more expensive.
//   - Calls are spread over 24 hours. When they are scarce, live windows become longer, up
//     to an hour, and nothing is skipped. See pace.go.
//   - No window is shorter than 30 seconds or longer than an hour, starts
//     before what Proofpoint still serves, or ends in the future of its clock.
package plan
