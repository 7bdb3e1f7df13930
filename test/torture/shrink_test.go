package torture

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"
)

// TestShrinkLeavesTheCause: of a plan that fails because of two actions together those two are
// left, wherever they stand.
func TestShrinkLeavesTheCause(t *testing.T) {
	t.Parallel()
	p := NewPlan(7, 40*time.Second)
	n := len(p.Actions)
	for _, cause := range [][2]int{{0, 1}, {0, n - 1}, {n / 2, n/2 + 1}, {3, n - 4}, {n - 2, n - 1}} {
		want := []Action{p.Actions[cause[0]], p.Actions[cause[1]]}
		runs := 0
		got, err := shrink(p, 1000, func(actions []Action) (bool, error) {
			runs++
			return slices.Contains(actions, want[0]) && slices.Contains(actions, want[1]), nil
		})
		if err != nil || !reflect.DeepEqual(got.Actions, want) || got.Seed != p.Seed || got.Length != p.Length {
			t.Errorf("%v of %d actions: left %v after %d runs, %v", cause, n, got.Actions, runs, err)
		}
		if runs > 2*n {
			t.Errorf("%v of %d actions: %d runs", cause, n, runs)
		}
	}
}

// TestShrinkKeepsWhatFailed: runs that are used up, or cannot be made, leave a plan that has
// failed.
func TestShrinkKeepsWhatFailed(t *testing.T) {
	t.Parallel()
	p := NewPlan(7, 40*time.Second)
	cause := p.Actions[5]
	runs := 0
	fails := func(actions []Action) (bool, error) {
		runs++
		return slices.Contains(actions, cause), nil
	}
	got, err := shrink(p, 3, fails)
	if bad, _ := fails(got.Actions); err != nil || !bad || runs != 4 || len(got.Actions) >= len(p.Actions) {
		t.Errorf("%d of %d actions after %d runs, %v", len(got.Actions), len(p.Actions), runs-1, err)
	}
	broken := errors.New("no world")
	got, err = shrink(p, 3, func([]Action) (bool, error) { return false, broken })
	if !errors.Is(err, broken) || len(got.Actions) != len(p.Actions) {
		t.Errorf("%d of %d actions, %v", len(got.Actions), len(p.Actions), err)
	}
}
