// Package compose tests docker-compose.yml on a real engine, from outside: it starts the
// demonstration from a clean clone, breaks things, and compares what the stand-in for Proofpoint
// made with what the stand-in for Devo has. Run it with make compose-test; it needs the build tag
// compose.
package compose
