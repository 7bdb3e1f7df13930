// Package tier tells tests how thorough to be. There are three tiers: quick (-short), which runs
// all the time; the usual one, which runs before each push and in CI; and the long one
// (TIER=long), which make e2e and make nightly run.
//
// What searches draws the same cases each time in the first two, so that CI depends on the change
// alone, and other cases each time in the long one. For rapid, make sets RAPID_SEED.
package tier

import (
	"flag"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// Long reports whether the long tier runs.
func Long() bool { return os.Getenv("TIER") == "long" } //nolint:forbidigo // tests have no configuration

// Pick chooses by tier. It may be called when the flags are parsed.
func Pick[T any](quick, usual, long T) T {
	switch {
	case testing.Short():
		return quick
	case Long():
		return long
	}
	return usual
}

// OnlyLong skips a test but in the long tier.
func OnlyLong(tb testing.TB, why string) {
	tb.Helper()
	if !Long() {
		tb.Skip("only in the long tier (TIER=long): " + why)
	}
}

// Seed is where a test begins that draws by itself; the test should log it. TEST_SEED sets it.
func Seed(tb testing.TB) uint64 {
	tb.Helper()
	seed := uint64(1)
	if Long() {
		seed = rand.Uint64() //nolint:gosec // no secret
	}
	if text := os.Getenv("TEST_SEED"); text != "" { //nolint:forbidigo // tests have no configuration
		given, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			tb.Fatalf("TEST_SEED: %v", err)
		}
		seed = given
	}
	tb.Logf("to repeat it: TEST_SEED=%d", seed)
	return seed
}

// Rapid sets how many cases the properties of a package draw, and where they begin, unless
// -rapid.checks and -rapid.seed say so. TestMain calls it; rapid prints the seed of a failure.
func Rapid(quick, usual, long int) {
	flag.Parse()
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	set := func(name, value string) {
		if given[name] {
			return
		}
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	set("rapid.checks", strconv.Itoa(Pick(5*quick, usual, long))) // rapid divides by five when quick
	if !Long() {
		set("rapid.seed", "1")
	}
}

// Parallel sets how many tests of a package run at once unless -test.parallel says so. It is for
// packages whose tests wait more than they work. TestMain calls it.
func Parallel(n int) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return
	}
	if err := flag.Set("test.parallel", strconv.Itoa(n)); err != nil {
		panic(err)
	}
}
