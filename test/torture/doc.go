// Package torture runs Tapline as processes between two simulators and tries to make it lose
// a record.
//
//	tapsim ── proxy ──▶ fetchers ┐
//	                             ├── proxies ──▶ natsserver
//	devosink ◀── proxy ─ shippers┘
//
// A [Plan] is made from a seed: what kind of world it is, and which actions happen to it when.
// [Run] makes the world, plays the actions, heals everything, and then lets the oracle compare what
// the simulator made with what the sink has; where the sink may lie, tapctl verify --devo and its
// repairs come first. [Shrink] finds a shorter list of actions that fails, too. [RunCrash] kills a
// stage at a named step (package step).
//
// The simulators live in this process: they are the outside world and the oracle, which do not
// forget. Everything of Tapline is a process of its own, built with the tag torture.
package torture
