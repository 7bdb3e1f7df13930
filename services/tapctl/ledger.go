package tapctl

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/ledger"
)

// summary is one line of the ledger as it is printed.
type summary struct {
	From        time.Time `json:"from"`
	To          time.Time `json:"to"`
	Feed        feed.Feed `json:"feed"`
	Lane        string    `json:"lane"`
	Pass        uint32    `json:"pass"`
	State       string    `json:"state"`
	Status      int32     `json:"status"`
	Received    int64     `json:"received"`
	Duplicate   int64     `json:"duplicate"`
	Published   int64     `json:"published"`
	Revision    int64     `json:"revision"`
	Dead        int64     `json:"dead"`
	Deferred    int64     `json:"deferred,omitempty"` // ids left to jobs of their own
	Known       int64     `json:"known,omitempty"`    // ids that needed no call
	Made        int64     `json:"made"`
	Confirmed   int64     `json:"confirmed"`
	Pending     int64     `json:"pending"`
	Resent      int64     `json:"resent,omitempty"`      // rows that replays sent once more
	Remade      int64     `json:"remade,omitempty"`      // rows made again by reprocessing
	Redelivered int64     `json:"redelivered,omitempty"` // of those, confirmed
	Sealed      bool      `json:"sealed"`
	Fetched     time.Time `json:"fetched"`
	Delivered   time.Time `json:"delivered"`
	Attempts    uint32    `json:"attempts"`
	Reason      string    `json:"reason,omitempty"`
	Job         string    `json:"job"`
}

// ledger prints the account of a day; its sub-command derives it again.
func (t *tool) ledger() *cobra.Command {
	day, name := "", ""
	cmd := &cobra.Command{
		Use: "ledger", Short: "Print the account of a day, window by window", Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, only, err := selection(day, name)
			if err != nil {
				return err
			}
			return t.connected(cmd, func(ctx context.Context, c Config, b *bus.Bus) error {
				bucket, err := b.Bucket(ctx, bus.BucketLedger)
				if err != nil {
					return err
				}
				report, err := ledger.New(bucket).Load(ctx, c.Tenant.Name, at, at.Add(24*time.Hour))
				if err != nil {
					return err
				}
				lines := summaries(report, at, only)
				return t.print(lines, func(w io.Writer) { printAccounts(w, lines) })
			})
		},
	}
	cmd.Flags().StringVar(&day, "day", "", "the day in UTC, such as 2026-03-11; today if empty")
	cmd.Flags().StringVar(&name, "feed", "", "only this feed")
	cmd.AddCommand(t.rebuild())
	return cmd
}

func selection(day, name string) (at time.Time, only feed.Feed, err error) {
	at = time.Now().UTC().Truncate(24 * time.Hour)
	if day != "" {
		if at, err = time.Parse(time.DateOnly, day); err != nil {
			return at, "", config.Invalid("--day", day, "want a day such as 2026-03-11")
		}
	}
	if only = feed.Feed(name); name != "" && !only.Valid() {
		return at, "", config.Invalid("--feed", name, "want one of "+strings.Join(feed.Names(feed.All()), ", "))
	}
	return at, only, nil
}

func summaries(report *ledger.Report, day time.Time, only feed.Feed) []summary {
	lines := []summary{}
	for i := range report.Rows {
		r := &report.Rows[i]
		w := r.Job.Window
		if (only != "" && r.Feed != only) || w.Start.Before(day) || !w.Start.Before(day.Add(24*time.Hour)) {
			continue
		}
		lines = append(lines, summary{
			From: w.Start, To: w.End, Feed: r.Feed, Lane: job.LaneName(r.Job.Lane), Pass: r.Job.Pass, State: r.StateName(), Status: r.Status,
			Received: r.Received, Duplicate: r.Duplicate, Published: r.Published, Revision: r.Revision, Dead: r.Dead,
			Deferred: r.Deferred, Known: r.Known, Made: r.Events, Confirmed: r.Confirmed, Pending: r.Pending(), Resent: r.Resent, Remade: r.Remade, Redelivered: r.Redelivered, Sealed: report.Sealed(r.Feed, w), Fetched: r.Fetched,
			Delivered: r.Delivered, Attempts: r.Calls, Reason: r.Reason, Job: r.Job.String(),
		})
	}
	return lines
}

func printAccounts(w io.Writer, lines []summary) {
	printf(w, "FROM\tTO\tFEED\tLANE\tPASS\tSTATE\tRECEIVED\tDUPLICATE\tNEW\tREVISED\tDEAD\tROWS\tCONFIRMED\tPENDING\tAGAIN\tDELIVERED\n")
	for _, a := range lines {
		state, delivered := a.State, "-"
		if a.Sealed {
			state += ", sealed"
		}
		if !a.Delivered.IsZero() {
			delivered = a.Delivered.Format(time.RFC3339)
		}
		printf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", a.From.Format(time.RFC3339), a.To.Format("15:04:05"), a.Feed, a.Lane, a.Pass,
			state, a.Received, a.Duplicate, a.Published-a.Revision, a.Revision, a.Dead, a.Made, a.Confirmed, a.Pending, a.Resent+a.Redelivered, delivered)
	}
}

// rebuild derives the ledger from the streams.
func (t *tool) rebuild() *cobra.Command {
	return &cobra.Command{
		Use: "rebuild", Short: "Derive the ledger again from the markers and rows in the streams", Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.connected(cmd, func(ctx context.Context, c Config, b *bus.Bus) error {
				bucket, err := b.Bucket(ctx, bus.BucketLedger)
				if err != nil {
					return err
				}
				found, err := ledger.New(bucket).Rebuild(ctx, b, c.Tenant.Name)
				if err != nil {
					return err
				}
				return t.print(found, func(w io.Writer) {
					printf(w, "%d jobs, %d batches of rows, of these %d confirmed; %d batches of no job\n", found.Jobs, found.Made, found.Confirmed, found.Unknown)
				})
			})
		},
	}
}
