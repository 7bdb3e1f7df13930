// Package devoquery asks Devo's query API what a table has: it reads back rows that
// were delivered. That a row is found by a query is the strongest proof of delivery there is; every
// acknowledgement on the way there speaks for a balancer only.
//
//	Query ─▶ POST /search/query ─▶ rows, one at a time
//
// The answer is read as it comes and is never held in memory. An answer that breaks off is an
// error, never a short one. What Devo's documentation as we have it leaves open (the exact shape of
// an answer and of an error inside it) is read in the most general way: any string under the name
// of the column that was asked for, or in an array, is a row.
package devoquery
