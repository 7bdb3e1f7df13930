package torture

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
)

// Shrink looks for a shorter plan that fails, too, by leaving parts out, and makes at most so many
// runs. What fails only now and then may be left out by mistake: the plan it gives has failed once.
func Shrink(ctx context.Context, p Plan, runs int, o Options) (Plan, error) {
	number := 0
	return shrink(p, runs, func(actions []Action) (bool, error) {
		number++
		try := o
		try.Dir = filepath.Join(o.Dir, fmt.Sprint(number))
		r, err := Run(ctx, Plan{p.Seed, p.Length, actions}, try)
		return r.Failed(), err
	})
}

func shrink(p Plan, runs int, fails func([]Action) (bool, error)) (Plan, error) {
	best := p
	number := 0
	for parts := 2; len(best.Actions) > 1 && number < runs; {
		size := max(1, (len(best.Actions)+parts-1)/parts)
		smaller := false
		for from := 0; from < len(best.Actions) && number < runs; from += size {
			rest := slices.Delete(slices.Clone(best.Actions), from, min(from+size, len(best.Actions)))
			number++
			bad, err := fails(rest)
			if err != nil {
				return best, err
			}
			if bad {
				best.Actions, smaller = rest, true
				break
			}
		}
		switch {
		case smaller:
			parts = max(2, parts-1)
		case size == 1:
			return best, nil
		default:
			parts *= 2
		}
	}
	return best, nil
}
