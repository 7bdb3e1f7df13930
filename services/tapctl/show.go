package tapctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/printable"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// show prints one message of a stream.
func (t *tool) show() *cobra.Command {
	return &cobra.Command{
		Use: "show STREAM SEQUENCE", Short: "Print one message of JOBS, RAW, EVENTS or DEAD as JSON", Args: takes(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			stream := strings.ToUpper(args[0])
			if kind(stream, "") == nil {
				return config.Invalid("STREAM", args[0], "want JOBS, RAW, EVENTS or DEAD")
			}
			sequence, err := strconv.ParseUint(args[1], 10, 64)
			if err != nil {
				return config.Invalid("SEQUENCE", args[1], "want a number")
			}
			return t.connected(cmd, func(ctx context.Context, _ Config, b *bus.Bus) error {
				stored, err := b.Message(ctx, stream, sequence)
				if err != nil {
					return err
				}
				return t.message(stream, stored)
			})
		},
	}
}

// kind is an empty message of what a stream carries.
func kind(stream, subject string) proto.Message {
	switch {
	case stream == bus.StreamJobs:
		return &taplinev1.Job{}
	case stream == bus.StreamRaw && strings.HasPrefix(subject, "mark."):
		return &taplinev1.JobResult{}
	case stream == bus.StreamRaw:
		return &taplinev1.RawBatch{}
	case stream == bus.StreamEvents:
		return &taplinev1.EventBatch{}
	case stream == bus.StreamDead:
		return &taplinev1.DeadLetter{}
	}
	return nil
}

// message prints a message: bytes fields are base64, as protobuf's JSON has them.
func (t *tool) message(stream string, stored bus.Stored) error {
	m := kind(stream, stored.Subject)
	data, err := stored.Data, error(nil)
	switch m.(type) {
	case *taplinev1.RawBatch, *taplinev1.EventBatch:
		data, err = batch.Unpack(data)
	}
	if err = errors.Join(err, wire.Unmarshal(data, m)); err != nil {
		return fmt.Errorf("message %d of %s: %w", stored.Sequence, stream, err)
	}
	body, err := protojson.Marshal(m)
	if err != nil {
		return fmt.Errorf("message %d of %s: %w", stored.Sequence, stream, err)
	}
	return t.json(struct {
		Subject  string          `json:"subject"`
		Sequence uint64          `json:"sequence"`
		Stored   time.Time       `json:"stored"`
		Message  json.RawMessage `json:"message"`
	}{stored.Subject, stored.Sequence, stored.Time, body})
}

func (t *tool) json(v any) error {
	enc := json.NewEncoder(t.Stdout)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func (t *tool) say(format string, args ...any) { printf(t.Stdout, format, args...) }

// printf makes each value one line that only prints. It ignores errors: no reader is left when the
// terminal is gone.
func printf(w io.Writer, format string, args ...any) { _, _ = printable.Fprintf(w, format, args...) }

// lines prints own text of several lines.
func lines(w io.Writer, text string) { _, _ = io.WriteString(w, text) }
