// Package tapctl is the operator's command line: how things stand, what is
// missing, what became of a record; and it makes the streams, opens pools of calls, and
// prints what is on the bus as JSON.
//
// Every command prints text, or JSON with --output json, whose member names are part of
// the interface.
//
// Exit status 0: done. 1: failed. 2: the command line or the configuration is
// not usable. 3: the command worked and found something that should not be: verify, check.
package tapctl
