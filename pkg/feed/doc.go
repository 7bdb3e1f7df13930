// Package feed holds Tapline's vocabulary of data sources: the eight feeds, the
// Devo table each one fills, the Proofpoint endpoints that serve them and the
// pools of calls those endpoints draw from.
//
// It is pure data plus one decision, [Cover]: the cheapest set of SIEM
// endpoints that serves a set of feeds. Limits come from Proofpoint's API
// documentation and are defaults only; a deployment may configure others.
package feed
