package tier_test

import (
	"flag"
	"testing"

	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/tier"
)

// TestTiers: what CI draws is the same each time, and the long tier draws anew.
func TestTiers(t *testing.T) {
	t.Setenv("TEST_SEED", "")
	t.Setenv("TIER", "")
	if first := tier.Seed(t); tier.Long() || tier.Seed(t) != first {
		t.Error("the usual tier draws other cases each time")
	}
	t.Setenv("TIER", "long")
	if first := tier.Seed(t); !tier.Long() || tier.Seed(t) == first {
		t.Error("the long tier draws the same cases each time")
	}
	t.Setenv("TEST_SEED", "7")
	if tier.Seed(t) != 7 {
		t.Error("a given seed is not used")
	}
	if got := tier.Pick(1, 2, 3); got != 3 && !testing.Short() {
		t.Errorf("the long tier picks %d", got)
	}
}

// TestRapid: the flags are set, and the same cases are drawn.
func TestRapid(t *testing.T) {
	t.Setenv("TIER", "")
	tier.Rapid(2, 2, 9)
	if seed := flag.Lookup("rapid.seed").Value.String(); seed != "1" {
		t.Errorf("seed %s", seed)
	}
	n := 0
	rapid.Check(t, func(t *rapid.T) { n += rapid.IntRange(1, 1).Draw(t, "one") })
	if n != 2 {
		t.Errorf("%d cases", n)
	}
}
