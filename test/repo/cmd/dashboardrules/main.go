// Command dashboardrules writes the queries of the dashboard as rules that record
// them, so that promtool can say whether Prometheus understands them. It runs in the
// folder of the repository; `make rules` calls it.
package main

import (
	"fmt"
	"log"
	"os"

	"sigs.k8s.io/yaml"

	"github.com/tapline/tapline/test/repo/reference"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	queries, err := reference.Dashboard(".")
	if err != nil {
		return err
	}
	var rules []map[string]string
	for i, q := range queries {
		rules = append(rules, map[string]string{"record": fmt.Sprintf("dashboard:query:%d", i), "expr": q.Expr})
	}
	data, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(data)
	return err
}
