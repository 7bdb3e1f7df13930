package deploy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/test/repo/reference"
)

const root = "../../.."

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// ofTargets are labels that a scrape adds, or Prometheus itself.
var ofTargets = []string{"job", "instance", "service", "le", "alertname", "alertstate"}

// queries are all expressions of rules and dashboard.
func queries(t *testing.T) []reference.Query {
	t.Helper()
	all, err := reference.Dashboard(root)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := reference.Rules(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 || len(rules) < 30 {
		t.Fatalf("found only %d queries and %d rules", len(all), len(rules))
	}
	for _, r := range rules {
		all = append(all, reference.Query{Where: r.Name(), Expr: r.Expr})
	}
	return all
}

// TestQueriesNameLabelsThatExist: metric by metric. That the metrics are served is
// tested with a running pipeline, in test/e2e.
func TestQueriesNameLabelsThatExist(t *testing.T) {
	t.Parallel()
	metrics, err := reference.Metrics(root)
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string][]string{}
	for _, m := range metrics {
		labels[m.Name] = m.Labels
	}
	known := func(name string) bool { _, ok := labels[name]; return ok }
	for _, q := range queries(t) {
		selectors, groups := reference.Selectors(q.Expr)
		if len(selectors) == 0 {
			t.Errorf("%s asks for nothing that is known: %s", q.Where, q.Expr)
		}
		have := slices.Clone(ofTargets)
		for _, s := range selectors {
			name := reference.Family(s.Metric, known)
			own := labels[name]
			if strings.HasPrefix(name, "tapline:") { // recorded by feed
				own = []string{"feed"}
			}
			have = append(have, own...)
			for label, value := range s.Matchers {
				if !slices.Contains(own, label) && !slices.Contains(ofTargets, label) {
					t.Errorf("%s: %s has no label %q", q.Where, s.Metric, label)
				}
				checkValue(t, q.Where, label, value)
			}
		}
		for _, label := range groups {
			if !slices.Contains(have, label) {
				t.Errorf("%s groups by %q, which none of its metrics has: %s", q.Where, label, q.Expr)
			}
		}
	}
}

// checkValue fails when a label is compared with a value that it never has.
func checkValue(t *testing.T, where, label, pattern string) {
	t.Helper()
	var values []string
	switch label {
	case "pool":
		for _, p := range feed.Pools() {
			values = append(values, string(p))
		}
	case "feed":
		values = feed.Names(feed.All())
	case "lane":
		values = job.Lanes()
	case "alarm":
		values = alarms(t)
	case "service":
		values = []string{"scheduler", "fetcher", "enricher", "shipper"}
	default:
		return
	}
	for value := range strings.SplitSeq(pattern, "|") {
		if !slices.Contains(values, value) {
			t.Errorf("%s: no %s is named %q", where, label, value)
		}
	}
}

// alarms reads the names of package alarm.
func alarms(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^\t[A-Z][A-Za-z]+ +Name = "([a-z-]+)"`).FindAllStringSubmatch(read(t, "pkg/alarm/alarm.go"), -1) {
		names = append(names, m[1])
	}
	if len(names) < 12 {
		t.Fatalf("found only the alarms %v", names)
	}
	return names
}

// TestEveryAlarmHasARuleAndACure: a rule, a line in the table of operations, and a
// section of the runbook that says what it means, how to check it and what to do.
func TestEveryAlarmHasARuleAndACure(t *testing.T) {
	t.Parallel()
	rules, err := reference.Rules(root)
	if err != nil {
		t.Fatal(err)
	}
	table, runbook := read(t, "docs/operations.md"), sectionsOf(read(t, "docs/runbook.md"))
	for _, name := range alarms(t) {
		if !slices.ContainsFunc(rules, func(r reference.Rule) bool {
			return r.Alert != "" && strings.Contains(r.Expr, `tapline_alarm{alarm="`+name+`"}`)
		}) {
			t.Errorf("%s: no rule alerts on it", name)
		}
		if !strings.Contains(table, "\n| "+name+" | ") {
			t.Errorf("%s: not in the table of docs/operations.md", name)
		}
		if runbook[name] == "" {
			t.Errorf("%s: not in docs/runbook.md", name)
		}
	}
	for heading, text := range runbook {
		for _, part := range []string{"**Means:**", "**Check:**", "**Cure:**"} {
			if !strings.Contains(text, part) {
				t.Errorf("docs/runbook.md: %s has no %s", heading, part)
			}
		}
	}
	for _, r := range rules {
		if r.Alert == "" {
			continue
		}
		page, anchor, _ := strings.Cut(r.Annotations["runbook"], "#")
		if page != "docs/runbook.md" || runbook[anchor] == "" {
			t.Errorf("%s: its runbook %q does not exist", r.Alert, r.Annotations["runbook"])
		}
		if r.Annotations["summary"] == "" || !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
			t.Errorf("%s: want a summary and a severity of critical, warning or info", r.Alert)
		}
	}
}

// sectionsOf maps the third-level headings that name an alert to their text.
func sectionsOf(page string) map[string]string {
	sections := map[string]string{}
	for _, part := range strings.Split(page, "\n### ")[1:] {
		heading, text, _ := strings.Cut(part, "\n")
		text, _, _ = strings.Cut(text, "\n## ")
		sections[heading] = text
	}
	return sections
}
