package shipper

// AppendMarked is the marking of rows, for tests.
var AppendMarked = appendMarked
