package replay

import (
	"testing"

	"github.com/tapline/tapline/pkg/feed"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

func TestFilter(t *testing.T) {
	t.Parallel()
	const job = "main/clicksBlocked/20260311T080000Z/20260311T080100Z/live/0"
	for name, c := range map[string]struct {
		order *taplinev1.ReplayOrder
		want  bool
	}{
		"everything":             {&taplinev1.ReplayOrder{}, true},
		"its table":              {&taplinev1.ReplayOrder{Tables: []string{"other", feed.ClicksBlocked.Table()}}, true},
		"another table":          {&taplinev1.ReplayOrder{Tables: []string{"other"}}, false},
		"its feed":               {&taplinev1.ReplayOrder{Feeds: []string{"clicksBlocked"}}, true},
		"another feed":           {&taplinev1.ReplayOrder{Feeds: []string{"clicksPermitted"}}, false},
		"its job":                {&taplinev1.ReplayOrder{Jobs: []string{job}}, true},
		"its window":             {&taplinev1.ReplayOrder{Jobs: []string{"main/clicksBlocked/20260311T080000Z/20260311T080100Z"}}, true},
		"the beginning of a job": {&taplinev1.ReplayOrder{Jobs: []string{"main/clicksBlocked/20260311T080000Z/20260311T0801"}}, false},
		"its id":                 {&taplinev1.ReplayOrder{Records: []string{"nobody", "abc"}}, true},
		"a part of its id":       {&taplinev1.ReplayOrder{Records: []string{"ab"}}, false},
		"its name":               {&taplinev1.ReplayOrder{Records: []string{"0123"}}, true},
		"its id, another table":  {&taplinev1.ReplayOrder{Records: []string{"abc"}, Tables: []string{"other"}}, false},
	} {
		f := NewFilter(c.order)
		got := f.Table(feed.ClicksBlocked.Table()) && f.Batch("clicksBlocked", job) && f.Row("0123", []byte(`{"id":"abc"}`))
		if got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestNarrowing: what is read has everything that may be wanted.
func TestNarrowing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		order         *taplinev1.ReplayOrder
		tables, feeds int
	}{
		"everything":        {&taplinev1.ReplayOrder{}, 0, 0},
		"a feed":            {&taplinev1.ReplayOrder{Feeds: []string{"clicksBlocked"}}, 1, 1},
		"campaigns":         {&taplinev1.ReplayOrder{Feeds: []string{"campaigns", "threats"}}, 2, 2},
		"a table":           {&taplinev1.ReplayOrder{Tables: []string{feed.ClicksBlocked.Table()}}, 1, 1},
		"threats":           {&taplinev1.ReplayOrder{Tables: []string{feed.Threats.Table()}}, 1, 2},
		"a table of a feed": {&taplinev1.ReplayOrder{Tables: []string{feed.Threats.Table()}, Feeds: []string{"campaigns"}}, 1, 1},
	} {
		if tables, feeds := tablesOf(c.order), feedsOf(c.order); len(tables) != c.tables || len(feeds) != c.feeds {
			t.Errorf("%s: %v, %v", name, tables, feeds)
		}
	}
}
