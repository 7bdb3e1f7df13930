// Package mutants makes single wrong changes to a package's code, which its tests should notice.
//
// A maintained tool was tried (go-gremlins v0.6.0): it copies one module to another place, where
// the others of this workspace are not found, takes the failing build for a killed mutant, and can
// neither drop a statement nor swallow an error, which are the changes that our promises fear most.
// Here a mutant is an overlay of one file for go test, so nothing is copied.
package mutants
