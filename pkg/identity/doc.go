// Package identity distinguishes records: which record it is, and which content it has.
//
// Identity. Proofpoint's own id names a click, and a message for one recipient; it is compared
// within one feed. A message without an id is named by its GUID and its recipients in sorted order.
// GUID alone would merge the recipients of a message. A record that has neither, and a click that
// has no id, is named by its content and its time, within its feed: another content is another
// record. Only what is no JSON object is named by its bytes, within its feed, too.
//
// Content. Reading the same record again may give the members of an object or the elements of a bag
// in another order, other white space and escapes, another spelling of a number (0 and 0.0), or
// null for a missing member; none of that is a change. Bags are the lists without a promised order:
// messageParts, threatsInfoMap, modulesRun, policyRoutes, recipient, the lists of addresses, and
// the names of actors, families, malware, techniques and brands. A bag keeps how often each element
// is in it. A bag of one element is the element, since the same member is a text here and a list
// there. Lists of which each element becomes a row, as evidence and the members of a campaign, are
// no bags: the place is part of the row's id. Everything else is a change.
//
// The content hash is a tree hash, made in one pass without building the tree: a scalar is hashed
// by its text (strings unescaped, numbers in one spelling), an ordered array by a chain, an object
// and a bag by a sum of mixed hashes, which does not depend on order.
//
// Both are 64 bits and together make @tapline_id. They are part of what is stored and shipped:
// changing this algorithm makes every record look new, unless the readers of what is stored ask
// [Hasher.Former], too.
package identity
