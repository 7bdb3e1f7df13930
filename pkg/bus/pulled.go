package bus

import (
	"context"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// consumerPage is a part of the list of a stream's consumers. In a cluster, the list lacks peers
// that did not answer in time. The server reports them in `missing`; nats.go ignores the field and
// returns the partial list as if it were complete.
type consumerPage struct {
	Total     int                       `json:"total"`
	Consumers []*jetstream.ConsumerInfo `json:"consumers"`
	Missing   []string                  `json:"missing"`
}

// Pulled reports whether a client is pulling from a stream at the moment: a stage runs.
// [ErrIncomplete]: the servers do not know it of every consumer.
func (b *Bus) Pulled(ctx context.Context, stream string) (consumer string, err error) {
	if _, err := b.js.Stream(ctx, stream); err != nil {
		return "", missing(err, "stream", stream)
	}
	for seen := 0; ; {
		page, err := b.consumers(ctx, stream, seen)
		if err != nil {
			return "", fmt.Errorf("look at %s: %w", stream, err)
		}
		for _, info := range page.Consumers {
			if info.NumWaiting > 0 {
				return info.Name, nil
			}
		}
		seen += len(page.Consumers)
		switch {
		case len(page.Missing) > 0:
			return "", fmt.Errorf("look at %s: %w: no server answers for %s", stream, ErrIncomplete, strings.Join(page.Missing, ", "))
		case seen >= page.Total:
			return "", nil
		case len(page.Consumers) == 0:
			return "", fmt.Errorf("look at %s: %w: %d consumers of %d", stream, ErrIncomplete, seen, page.Total)
		}
	}
}

// consumers asks for the consumers behind the first so many. The server itself waits four seconds
// for the others.
func (b *Bus) consumers(ctx context.Context, stream string, offset int) (consumerPage, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*requestTimeout)
	defer cancel()
	var page consumerPage
	err := b.api(ctx, "$JS.API.CONSUMER.LIST."+stream, map[string]any{"offset": offset}, &page)
	return page, err
}
