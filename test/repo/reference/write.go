package reference

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Documents are the pages that have generated tables.
func Documents() []string {
	return []string{"docs/configuration.md", "docs/operations.md", "docs/security.md"}
}

// generated is a table between its markers; what is around it is written by hand.
var generated = regexp.MustCompile(`(?s)<!-- begin ([a-z -]+) \(make docs\) -->\n(.*?)<!-- end -->\n`)

var (
	errUnknown = errors.New("no such table")
	errMissing = errors.New("a table has no place in the documents")
)

// Write returns the pages, by name, with their tables made anew from the code below
// root. Every table must have its place in one of them.
func Write(root string, pages map[string]string) (map[string]string, error) {
	tables := variableTables()
	tables["rights"] = rightsTable()
	var err error
	if tables["metrics"], err = metricTable(root); err != nil {
		return nil, err
	}
	written, used := map[string]string{}, map[string]bool{}
	for name, page := range pages {
		written[name] = generated.ReplaceAllStringFunc(page, func(old string) string {
			begin, _, _ := strings.Cut(old, "\n")
			table := generated.FindStringSubmatch(old)[1]
			content, ok := tables[table]
			if !ok {
				err = fmt.Errorf("%s: %w: %s", name, errUnknown, table)
			}
			used[table] = true
			return begin + "\n" + content + "<!-- end -->\n"
		})
	}
	for table := range tables {
		if !used[table] {
			return nil, fmt.Errorf("%w: %s", errMissing, table)
		}
	}
	return written, err
}
