// Package tapsim is a stand-in for the Proofpoint TAP API: SIEM, threats, campaigns, people,
// forensics; the parameter rules, the answers to broken ones, the throttles, the shapes and
// oddities of the records, and the faults that a network adds. It serves for tests, for `tapline
// demo`, and for customers who want to rehearse an outage.
//
// Records are not stored: a record is a function of the seed, the second of its
// creation and its number within that second, so any window of any length can
// be served at once, and the truth can be asked for at any time ([Sim.Truth]).
//
// Threats and campaigns are named by the records, and their ids can be turned back into what they
// are ([Sim.Derived] lists them): threats change their status, some are linked to their campaign
// later, and campaigns grow. The lists of people change from day to day.
//
// A record has three times. Its own (click or message) time; the time of its
// *creation*, which windows select by and no field shows; and the time from which it is
// *visible*, later by an index lag, so that it can appear inside a window that
// was served before.
//
// The simulator has its own clock ([Sim.Now]), which may run faster than the
// real one. Every answer carries it in the Date header.
//
// Where Proofpoint's behavior is not known, a field of [Config] chooses; the
// defaults are what has been observed of the live service.
package tapsim
