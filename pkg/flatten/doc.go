// Package flatten makes flat rows of nested JSON, the way Devo's own collectors
// do: one row for each element of an array, with everything around the element,
// how many there are, and which one it is.
//
//	{"id":1,"events":[{a},{b}]}   by "events"
//	{"id":1,"events":{a},"events_found":2,"events_id":1}
//	{"id":1,"events":{b},"events_found":2,"events_id":2}
//
// An array that is empty, null or missing makes one row with {} in its place, found 0 and
// id 0. A value that is no array makes one row as it is, found 1 and id 1.
//
// Everything else is copied: the text of numbers, keys with dots, unknown keys and types,
// empty containers, the order of members. Of two members that would have the same name in a row
// the outer one gets a prefix ([Outer]), so nothing is lost. The rows are a function
// of the text alone.
//
// Limits: a row is at most [Options.MaxRow] bytes, and nesting is at most as deep as package
// jsontext reads (10 000); beyond that there is an error, which says for which row.
package flatten
