// Package interop ships to servers that we did not write, rsyslog and syslog-ng, over
// mutual TLS on loopback, and compares what they have written with what was sent, byte
// for byte. Run it with `make interop`, which puts both below bin/interop.
package interop
