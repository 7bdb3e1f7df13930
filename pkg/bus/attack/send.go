package attack

import (
	"context"
	"fmt"

	"github.com/tapline/tapline/pkg/bus"
)

// Message is one that no stage would send.
type Message struct {
	Subject string
	Data    []byte
}

// Send stores messages as the administrator, who may do everything: what the stages make of them is
// the question.
func Send(ctx context.Context, s System, messages []Message) error {
	nc, err := s.connect(bus.UserAdmin)
	if err != nil {
		return err
	}
	defer nc.Close()
	for _, m := range messages {
		if _, err := nc.RequestWithContext(ctx, m.Subject, m.Data); err != nil {
			return fmt.Errorf("send on %s: %w", m.Subject, err)
		}
	}
	return nil
}
