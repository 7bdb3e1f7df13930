// Package tapctl is the operator's command line: it makes the streams, shows
// and opens the pools of calls, and prints what is on the bus as JSON.
//
// Exit status 0: done. 1: failed. 2: the command line or the configuration is
// not usable.
package tapctl
