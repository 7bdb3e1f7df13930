package attack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tapline/tapline/pkg/bus"
)

// Message is one that no stage would send.
type Message struct {
	Subject string
	Data    []byte
}

var errNotStored = errors.New("the message is not stored")

// Send stores messages as the administrator, who may do everything: what the stages make of them is
// the question. One that the server does not take is an error.
func Send(ctx context.Context, s System, messages []Message) error {
	nc, err := s.connect(bus.UserAdmin)
	if err != nil {
		return err
	}
	defer nc.Close()
	for _, m := range messages {
		reply, err := nc.RequestWithContext(ctx, m.Subject, m.Data)
		if err != nil {
			return fmt.Errorf("send on %s: %w", m.Subject, err)
		}
		var ack struct {
			Stream string          `json:"stream"`
			Error  json.RawMessage `json:"error"`
		}
		if err := json.Unmarshal(reply.Data, &ack); err != nil || ack.Stream == "" || ack.Error != nil {
			return fmt.Errorf("%w: %d bytes on %s: %.200s", errNotStored, len(m.Data), m.Subject, reply.Data)
		}
	}
	return nil
}
