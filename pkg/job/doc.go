// Package job names jobs. A job's id says what the job is and nothing else:
//
//	<tenant>/<feed set>/<start>/<end>/<lane>/<pass>
//	<tenant>/<call>/<start>/<end>/<lane>/<pass>[/<target>]
//
// Plans of the same work make the same id. The id alone tells the window, the feeds and why they
// are read. The first form is a window of SIEM records; the second is anything else Proofpoint is
// asked for. The window of a job that asks for ids is the hour in whose account it stands.
package job
