package overview

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tapline/tapline/pkg/feed"
)

// Tenants lists the tenants of which something is known: a plan, a list, or a program that ran for
// them.
func (r *Reader) Tenants(ctx context.Context) ([]string, error) {
	keys, err := r.state.Keys(ctx, "*.*", "list.*.*", "heartbeat.>")
	if err != nil {
		return nil, fmt.Errorf("overview: %w", err)
	}
	var tenants []string
	for _, key := range keys {
		parts := strings.Split(key, ".")
		name := ""
		switch {
		case len(parts) == 2:
			if _, ok := feed.ParseSet(parts[1]); ok {
				name = parts[0]
			}
		case parts[0] == "list" || parts[0] == "heartbeat":
			name = parts[1]
		}
		if name != "" && !slices.Contains(tenants, name) {
			tenants = append(tenants, name)
		}
	}
	slices.Sort(tenants)
	return tenants, nil
}
