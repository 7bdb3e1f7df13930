package reference

import (
	"fmt"
	"strings"

	"github.com/tapline/tapline/pkg/bus"
)

// rightsTable says what each user of the NATS server may do. The attack in pkg/bus/attack judges by
// the same list.
func rightsTable() string {
	var b strings.Builder
	b.WriteString("| user | may | by publishing on |\n| --- | --- | --- |\n")
	for _, u := range bus.Users() {
		for _, r := range u.Rights {
			subjects := make([]string, 0, len(r.Subjects))
			for _, s := range r.Subjects {
				if !strings.HasPrefix(s, "$JS.API.DIRECT.GET.") || !strings.HasSuffix(s, ".>") { // the same messages, by subject
					subjects = append(subjects, "`"+s+"`")
				}
			}
			if len(subjects) > 8 {
				subjects = append(subjects[:2:2], fmt.Sprintf("and %d more of the kind", len(subjects)-2))
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", u.Name, escape(r.Does), strings.Join(subjects, ", "))
		}
	}
	return b.String()
}

// escape keeps a text within one cell, and its wildcards as they are.
func escape(text string) string { return strings.NewReplacer("|", `\|`, "*", `\*`).Replace(text) }
