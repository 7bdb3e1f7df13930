// Package plan decides which windows are read and when. It is pure: a state, the
// present and what became of earlier jobs go in; a new state and the jobs it
// wants outstanding come out. It does no I/O, and the same input gives the same
// output, so any number of schedulers agree.
//
// For one feed set the time line is
//
//	7 days ago      backfill next      backfill end = first head      head      now - margin
//	    ├── done ────────┼── to backfill ──────┼── done by live ─────────┼── next ────┤
//
// What holds after every step:
//
//   - Every instant between the start and the head is in exactly one of: a window that
//     was read, an outstanding job, the rest of backfill, a range given up as lost.
//   - Each hour that live read is read again at each of the configured ages, by sweeps,
//     each pass once; see sweep.go.
//   - Windows of outstanding jobs do not meet.
//   - A live window begins where the last one ended, so a late one is longer (up to
//     an hour) and not more expensive. While live jobs wait, none is added: when calls
//     are scarce the windows stretch and nothing is skipped.
//   - No window is shorter than 30 seconds or longer than an hour, starts
//     before what Proofpoint still serves, or ends in the future of its clock.
package plan
