// Package simulate runs the planner and the quota in virtual time against the
// simulated Proofpoint, which is the outside judge of calls and records.
//
// The plan (pkg/plan), the account of calls (pkg/quota) and the identity of records
// (pkg/identity) are the product's own. The bus, the fetchers around a call and the ledger
// are modelled by the few lines of this package, with the order of effects of the real
// ones, so that a week takes seconds. The real ones are tested in test/e2e.
package simulate
