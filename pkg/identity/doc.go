// Package identity tells records apart: which record it is, and which content it has.
//
// Identity. Proofpoint's own id names a click, and a message for one recipient;
// it is compared within one feed. A message without an id is named by its GUID
// and its recipients in sorted order. GUID alone would merge the recipients of a
// message, and the raw bytes would tell equal records apart.
//
// Content. Reading the same record again may give the members of an object, the
// messageParts and the threatsInfoMap in another order, other white space and escapes, or
// null for a missing member; none of that is a change. Everything else is,
// down to the text of a number: 1.0 is not 1. The content hash is a tree
// hash, made in one pass without building the tree: a scalar is hashed by its
// text (strings unescaped), an ordered array by a chain, an object and the two
// unordered arrays by a sum of mixed hashes, which does not depend on order.
//
// Both are 64 bits and together make @tapline_id. They are part of what is
// stored and shipped: changing this algorithm makes every record look new.
package identity
