package torture

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Arg is the crash as ParseCrash reads it: a report prints it, and the same crash is played again.
func (c Crash) Arg() string {
	text := fmt.Sprintf("seed=%d,work=%s,step=%s,pass=%d", c.Seed, strings.ReplaceAll(string(c.Work), " ", "-"), c.Step, c.Pass)
	if c.From != "" {
		text += ",from=" + c.From
	}
	if c.Then != "" {
		text += ",then=" + c.Then
	}
	return text
}

// ParseCrash reads what Arg wrote.
func ParseCrash(text string) (c Crash, err error) {
	for field := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(field, "=")
		var bad error
		switch key {
		case "seed":
			c.Seed, bad = strconv.ParseUint(value, 10, 64)
		case "pass":
			c.Pass, bad = strconv.Atoi(value)
		case "work":
			if c.Work = Work(strings.ReplaceAll(value, "-", " ")); !slices.Contains(Works(), c.Work) {
				bad = errVerb
			}
		case "step":
			var ok bool
			if c.Step.Program, c.Step.Name, ok = strings.Cut(value, "/"); !ok {
				bad = errVerb
			}
		case "from":
			c.From = value
		case "then":
			c.Then = value
		default:
			bad = errVerb
		}
		if bad != nil {
			return c, fmt.Errorf("crash %q: %q: %w", text, field, bad)
		}
	}
	if c.Step.Name == "" || c.Work == "" || c.Pass < 1 {
		return c, fmt.Errorf("crash %q: want seed, work, step and pass: %w", text, errVerb)
	}
	return c, nil
}

// Alternate orders steps so that successive ones belong to different programs: a few runs reach
// every program. A program with few steps has them spread evenly.
func Alternate(steps []Step) []Step {
	total, seen := make(map[string]int), make(map[string]int)
	for _, s := range steps {
		total[s.Program]++
	}
	type placed struct {
		Step
		at float64
	}
	var order []placed
	for _, s := range steps {
		order = append(order, placed{s, (float64(seen[s.Program]) + 0.5) / float64(total[s.Program])})
		seen[s.Program]++
	}
	slices.SortStableFunc(order, func(a, b placed) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.Program, b.Program)) })
	for i, p := range order {
		steps[i] = p.Step
	}
	return steps
}
