package plan_test

import (
	"testing"

	"github.com/tapline/tapline/pkg/tier"
)

// TestMain says how many cases a property draws: each lives through days.
func TestMain(m *testing.M) {
	tier.Rapid(25, 25, 1000)
	m.Run()
}
