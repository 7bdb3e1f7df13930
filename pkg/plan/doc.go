// Package plan decides which windows are read and when. [Step] is pure: a state, the
// present, what became of earlier jobs and the calls to be had go in; a new
// state and the jobs it wants outstanding come out. The same input gives the same output, so
// any number of schedulers agree. Only store.go reads and writes the bucket STATE.
//
// For one feed set the time line is
//
//	7 days ago      backfill next      backfill end = first head      head      now - margin
//	    ├── done ────────┼── to backfill ──────┼── done by live ─────────┼── next ────┤
//
// What holds after every step:
//
//   - Every instant between the start and the head is read, in an outstanding job, set aside, in a
//     backlog, in the remainder of backfill, lost, or listed as not collected ([Change]). [Unread]
//     lists all that is to be read.
//   - Only the passage of seven days makes a window lost, by each clock that may be right. No
//     outcome of a job does. The reason says since when it waits, and the last answer.
//   - A first start loses nothing: it begins inside what Proofpoint serves. History that falls off
//     the edge in the first day moves the start.
//   - A window that no answer proves read is set aside (aside.go). It is retried with backoff, from
//     a minute to an hour, and at most two such windows are on the bus. It counts in no limit of
//     the others, and stays unread.
//   - An answer that proves a part of a window leaves the remainder aside.
//   - Each hour is swept at every configured age, measured on Proofpoint's clock. Ages already
//     passed at the first reading are skipped. The last of these sweeps is repeated until it finds
//     nothing; then the hour is sealed. What was not swept before Proofpoint ceased to serve it
//     is lost, though it was read: late records of it may be missing. See sweep.go.
//   - A sweep steps over what is not read yet (over.go). The remainder of the hour is swept and
//     sealed in time.
//   - Windows of one feed that are outstanding or set aside do not meet: two calls that return the
//     same record at the same time could not know of each other.
//   - A live window begins where the last one ended, or some minutes earlier where that has been
//     read already, to find what Proofpoint made visible meanwhile: a longer window is not more
//     expensive. It ends behind the present by the lag that answers have taught (lag.go), at most
//     an hour.
//   - Calls are spread over 24 hours. When they are scarce, live windows become longer, up
//     to an hour, and nothing is skipped. Windows set aside have a reserve. See pace.go.
//   - No window is shorter than 30 seconds or longer than an hour, or ends in the future of
//     Proofpoint's clock.
//   - A changed set of feeds inherits what the one before owed. See change.go.
package plan
