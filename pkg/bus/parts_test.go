package bus

import (
	"slices"
	"testing"
)

// TestPartsAreEverythingThatSetupMakes: a stream that a backup forgets is lost with the disk.
func TestPartsAreEverythingThatSetupMakes(t *testing.T) {
	t.Parallel()
	var made []string
	for _, s := range streams(Limits{}) {
		made = append(made, s.Name)
	}
	for _, b := range buckets(Limits{}) {
		made = append(made, b.Name)
	}
	parts := slices.Sorted(slices.Values(Parts()))
	slices.Sort(made)
	if !slices.Equal(made, parts) {
		t.Errorf("setup makes %v, a backup takes %v", made, parts)
	}
}
