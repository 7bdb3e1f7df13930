// Package e2e tests the whole pipeline from outside: a simulated Proofpoint, the
// real stages on a real embedded NATS server, real TLS, a simulated Devo.
package e2e
