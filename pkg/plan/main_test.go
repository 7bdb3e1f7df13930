package plan_test

import (
	"flag"
	"testing"
)

// checks is how many cases a property draws unless -rapid.checks says so: each lives through days,
// and the race detector finds nothing in a pure package.
const checks, checksShort = "25", "3"

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		n := checks
		if testing.Short() {
			n = checksShort
		}
		if err := flag.Set("rapid.checks", n); err != nil {
			panic(err)
		}
	}
	m.Run()
}
