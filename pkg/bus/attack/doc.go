// Package attack does with the credentials of one user of the NATS server whatever the protocol
// offers, and judges from outside what came of it. It knows the table of rights ([bus.Users]) and
// nothing of how the server enforces it.
//
// It is for tests: of the embedded server with the shipped configuration, of a cluster, and of
// containers.
package attack
