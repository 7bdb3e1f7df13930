// Package configtest tests the bounds of settings, by a table.
package configtest

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tapline/tapline/pkg/config"
)

// Bounds has two lists of values for each variable, separated by spaces: those that are accepted
// and those that are refused. The first and the last value that is accepted belong in it, and their
// neighbors.
type Bounds map[string][2]string

// Check loads a configuration with each value, beside the settings that it needs. A refused value
// is one problem, in one line, that names the variable.
func Check[C any](t *testing.T, needed []string, bounds Bounds) {
	t.Helper()
	load := func(name, value string) error {
		return config.Load(new(C), append(slices.Clip(needed), name+"="+value))
	}
	for name, values := range bounds {
		for value := range strings.FieldsSeq(values[0]) {
			if err := load(name, value); err != nil {
				t.Errorf("%s=%s: %v", name, value, err)
			}
		}
		for value := range strings.FieldsSeq(values[1]) {
			err := load(name, value)
			if !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s=%s: %v", name, value, err)
			}
		}
	}
}
