package tapctl

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/overview"
)

// trace prints the life of a record.
func (t *tool) trace() *cobra.Command {
	return &cobra.Command{
		Use: "trace ID", Short: "Print the life of a record, found by id, GUID or @tapline_id", Args: takes(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args[0]) < 3 {
				return config.Invalid("ID", args[0], "want the id or GUID of a record, or its @tapline_id")
			}
			return t.reading(cmd, func(ctx context.Context, r *overview.Reader, _ *bus.Bus) error {
				found, err := r.Trace(ctx, args[0])
				if err != nil {
					return err
				}
				if found == nil {
					found = []overview.Trace{}
				}
				if err := t.print(found, func(w io.Writer) { printTraces(w, args[0], found) }); err != nil {
					return err
				}
				if len(found) == 0 {
					return errFound
				}
				return nil
			})
		},
	}
}

func printTraces(w io.Writer, id string, found []overview.Trace) {
	if len(found) == 0 {
		printf(w, "no record with %q in the eight days of RAW or in DEAD\n", id)
	}
	for _, f := range found {
		kind := "first"
		if f.Revision {
			kind = "revision"
		}
		printf(w, "%s %s\t%s\n", f.Feed, f.TaplineID, kind)
		if !f.From.IsZero() {
			printf(w, "  window\t%s to %s\n", f.From.Format(time.RFC3339), f.To.Format(time.RFC3339))
		}
		printf(w, "  job\t%s\n  fetched\t%s\n", f.Job, f.Fetched.Format(time.RFC3339Nano))
		if f.Raw > 0 {
			printf(w, "  batch\tRAW/%d\n", f.Raw)
		}
		for _, d := range f.Deliver {
			confirmed := "not yet"
			if !d.Confirmed.IsZero() {
				confirmed = d.Confirmed.Format(time.RFC3339Nano)
				if d.Replay != "" {
					confirmed += " by replay " + d.Replay
				}
			}
			printf(w, "  row\t%s\n  event\tEVENTS/%d at %s\n  confirmed\t%s\n", d.Table, d.Event, d.Made.Format(time.RFC3339Nano), confirmed)
		}
		for _, a := range f.Again {
			printf(w, "  %s\tby replay %s at %s%s\n", map[string]string{"made": "made again", "confirmed": "confirmed again", "sent": "sent again"}[a.What],
				a.Replay, a.At.Format(time.RFC3339Nano), where(a.Sink))
		}
		if f.Dead != "" {
			printf(w, "  dead\t%s\n", f.Dead)
		}
	}
}

func where(sink string) string {
	if sink == "" {
		return ""
	}
	return " to " + sink
}
