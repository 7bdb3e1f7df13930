// Package program is what every Tapline binary does before and after its work:
// read the configuration, print --help and --version, set up logs, metrics and
// probes, turn SIGINT and SIGTERM into the end of a context, and choose the
// exit status.
//
// Exit status 0: ended as asked. 1: failed while running. 2: the configuration
// or the command line is not usable (everything that wraps
// [config.ErrInvalid]).
package program
