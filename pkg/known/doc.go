// Package known remembers what Proofpoint was asked about single threats and
// campaigns, so that nothing is asked twice for nothing, by any number of
// replicas.
//
// The memory is the bucket KNOWN, one key for each call and id. An entry lists what the
// answers were about ([taplinev1.Version]: status and campaign of a threat, last
// update of a campaign, and when), the hash of the content that was published last,
// and who asks at the moment.
//
// The enricher looks ([Memory.Covers]) before it orders; the fetcher claims ([Memory.Claim]) before
// it calls, and completes ([Memory.Complete]) after the answer is stored. A claim ends by itself,
// so a fetcher that dies delays others for no longer than [Lease]. To lose the memory costs calls
// to endpoints without a limit, and rows that carry the same @tapline_id; it never costs a row.
//
// It also remembers which ids that cannot be asked for have their dead letter
// ([Memory.DeadLettered]).
package known
