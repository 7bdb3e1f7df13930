// Package replay tests sending and making rows again from outside: orders by tapctl, work by
// shippers and enrichers, over a real bus.
package replay
