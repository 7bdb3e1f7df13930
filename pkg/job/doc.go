// Package job names jobs. A job's id says what the job is and nothing else:
//
//	<tenant>/<feed set>/<start>/<end>/<lane>/<pass>
//
// Whoever plans the same work makes the same id, and whoever has an id knows
// the window, the feeds and why they are read.
package job
