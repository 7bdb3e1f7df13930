package reference

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

// Files of monitoring, from the root of the repository.
const (
	rulesFile     = "deploy/prometheus/alerts.yml"
	dashboardFile = "deploy/grafana/dashboards/tapline.json"
)

// Rule is one of Prometheus, to alert or to record.
type Rule struct {
	Alert       string            `json:"alert"`
	Record      string            `json:"record"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// Name is that of the alert, or of what is recorded.
func (r Rule) Name() string { return r.Alert + r.Record }

// Rules reads the rules of Prometheus.
func Rules(root string) ([]Rule, error) {
	data, err := os.ReadFile(filepath.Join(root, rulesFile)) //nolint:gosec // of this repository
	if err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	var file struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []Rule `json:"rules"`
		} `json:"groups"`
	}
	if err := yaml.UnmarshalStrict(data, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", rulesFile, err)
	}
	var all []Rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all, nil
}

// Query is one expression that asks Prometheus for something.
type Query struct{ Where, Expr string }

var errNoExpression = errors.New("asks for nothing")

// Dashboard reads the queries of the dashboard, with its variables filled in.
func Dashboard(root string) ([]Query, error) {
	data, err := os.ReadFile(filepath.Join(root, dashboardFile)) //nolint:gosec // of this repository
	if err != nil {
		return nil, fmt.Errorf("dashboard: %w", err)
	}
	type expression struct {
		Expr string `json:"expr"`
	}
	var page struct {
		Panels []struct {
			Title   string       `json:"title"`
			Type    string       `json:"type"`
			Targets []expression `json:"targets"`
		} `json:"panels"`
		Annotations struct {
			List []expression `json:"list"`
		} `json:"annotations"`
	}
	if err := json.Unmarshal(data, &page); err != nil {
		return nil, fmt.Errorf("%s: %w", dashboardFile, err)
	}
	var all []Query
	add := func(where string, e expression) {
		all = append(all, Query{where, strings.ReplaceAll(e.Expr, "$__rate_interval", "1m")})
	}
	for _, p := range page.Panels {
		if len(p.Targets) == 0 && p.Type != "row" {
			return nil, fmt.Errorf("panel %q: %w", p.Title, errNoExpression)
		}
		for _, target := range p.Targets {
			add("panel "+p.Title, target)
		}
	}
	for _, a := range page.Annotations.List {
		add("annotation", a)
	}
	return all, nil
}

// Selector is one metric that an expression asks for.
type Selector struct {
	Metric   string
	Matchers map[string]string // label to the value or the pattern it is compared with
}

var (
	selector = regexp.MustCompile(`\b((?:tapline|go|process)[_:][a-zA-Z0-9_:]+|up|ALERTS)\b(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"`)
	grouping = regexp.MustCompile(`\b(?:by|without|on)\s*\(([a-z_, ]*)\)`)
)

// Selectors lists what an expression asks for, and the labels it groups by.
func Selectors(expr string) (all []Selector, groups []string) {
	for _, m := range selector.FindAllStringSubmatch(expr, -1) {
		s := Selector{Metric: m[1], Matchers: map[string]string{}}
		for _, pair := range matcher.FindAllStringSubmatch(m[2], -1) {
			s.Matchers[pair[1]] = pair[2]
		}
		all = append(all, s)
	}
	for _, m := range grouping.FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(m[1], ",") {
			if label = strings.TrimSpace(label); label != "" {
				groups = append(groups, label)
			}
		}
	}
	return all, groups
}

// Family is the name under which a metric is registered, given the one that a query
// uses: histograms have three series.
func Family(name string, known func(string) bool) string {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, ok := strings.CutSuffix(name, suffix); ok && !known(name) {
			return base
		}
	}
	return name
}
