// Package arch holds the rules of the house that a compiler does not know: who may
// import whom, how large things get, and that documents speak of what is there.
package arch
