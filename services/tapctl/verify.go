package tapctl

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/overview"
)

// exists refuses a tenant of whom nothing is known, if others are.
func exists(ctx context.Context, r *overview.Reader) error {
	tenants, err := r.Tenants(ctx)
	if err != nil {
		return err
	}
	for _, name := range tenants {
		if name == r.Tenant() {
			return nil
		}
	}
	if len(tenants) == 0 {
		return nil // nothing began yet: the command says so
	}
	return config.Invalid("TENANT", r.Tenant(), "there is no such tenant: there is "+strings.Join(tenants, ", "))
}

// judging runs a command that judges how a tenant is: it must be one.
func (t *tool) judging(cmd *cobra.Command, work func(ctx context.Context, r *overview.Reader) error) error {
	return t.reading(cmd, func(ctx context.Context, r *overview.Reader, _ *bus.Bus) error {
		if err := exists(ctx, r); err != nil {
			return err
		}
		return work(ctx, r)
	})
}

// gaps lists what was not read.
func (t *tool) gaps() *cobra.Command {
	return &cobra.Command{
		Use: "gaps", Short: "List what was not read: lost, missing, unproven, waiting or switched off", Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.judging(cmd, func(ctx context.Context, r *overview.Reader) error {
				gaps, looked, err := r.Gaps(ctx)
				if err != nil {
					return err
				}
				if gaps == nil {
					gaps = []overview.Gap{}
				}
				err = t.print(gaps, func(w io.Writer) {
					switch {
					case !looked:
						printf(w, "nothing was compared: no window of tenant %s is planned yet\n", r.Tenant())
					case len(gaps) == 0:
						printf(w, "nothing is missing up to the head of live reading\n")
					default:
						printGaps(w, gaps)
					}
				})
				if err == nil && !looked {
					err = errFound
				}
				return err
			})
		},
	}
}

func printGaps(w io.Writer, gaps []overview.Gap) {
	if len(gaps) > 0 {
		printf(w, "FEED\tFROM\tTO\tSTATE\tSINCE\tREASON\n")
	}
	for _, g := range gaps {
		since := "-"
		if !g.Since.IsZero() {
			since = g.Since.UTC().Format(time.RFC3339)
		}
		printf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", g.Feed, g.From.Format(time.RFC3339), g.To.Format(time.RFC3339), g.State, since, g.Reason)
	}
}

// verify checks the whole ledger, or compares what it says with Devo.
func (t *tool) verify() *cobra.Command {
	var back readbackFlags
	cmd := &cobra.Command{
		Use: "verify", Short: "Check the whole ledger, or with --devo what Devo has; status 3 if something is lost, missing, unproven or wrong, or nothing was compared",
		Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if back.on {
				return t.readBack(cmd, &back)
			}
			if back.from != "" || back.to != "" {
				return config.Invalid("command line", "", "--from and --to belong to --devo: the ledger is always checked whole")
			}
			return t.judging(cmd, func(ctx context.Context, r *overview.Reader) error {
				report, err := r.Verify(ctx)
				if err != nil {
					return err
				}
				if err := t.print(report, func(w io.Writer) { printReport(w, r.Tenant(), report) }); err != nil {
					return err
				}
				if !report.Good() {
					return errFound
				}
				return nil
			})
		},
	}
	back.register(cmd)
	return cmd
}

func printReport(w io.Writer, tenant string, r *overview.Report) {
	printf(w, "from %s to %s: %d windows, %d records published, %d rows made of them, %d confirmed, %d on their way\n\n",
		r.From.Format(time.RFC3339), r.To.Format(time.RFC3339), r.Windows, r.Records, r.Rows, r.Confirmed, r.Pending)
	printSums(w, &r.Sums)
	if r.Resent > 0 || r.Remade.Rows > 0 {
		printf(w, "by replays: %d rows resent; %d rows reprocessed, %d of them confirmed\n", r.Resent, r.Remade.Rows, r.Remade.Confirmed)
	}
	if len(r.Dead) > 0 {
		printf(w, "\nDEAD LETTERS\tSTAGE\tFEED\tLAST\tREASON\n")
	}
	for _, d := range r.Dead {
		printf(w, "%d\t%s\t%s\t%s\t%.200s\n", d.Letters, d.Stage, d.Feed, d.Last.Format(time.RFC3339), d.Reason)
	}
	if len(r.Violations)+len(r.Gaps) > 0 {
		printf(w, "\n")
	}
	for _, v := range r.Violations {
		printf(w, "wrong: %s\n", v)
	}
	printGaps(w, r.Gaps)
	switch {
	case r.Compared == 0:
		printf(w, "nothing was compared: nothing was read for tenant %s yet\n", tenant)
	case r.Good():
		printf(w, "everything adds up\n")
	}
}

// printSums says how each sum becomes the next, so that no difference is left to guess at.
func printSums(w io.Writer, s *overview.Sums) {
	line := func(n int64, what string) {
		if n != 0 {
			printf(w, "  %+d\t%s\n", n, what)
		}
	}
	printf(w, "%d\trecords received\n", s.Received)
	line(-s.Duplicates, "were read before")
	line(-s.FetcherDead, "in DEAD: malformed, or not to be had")
	printf(w, "%d\trecords published\n", s.Records)
	line(-s.Rowless, "make no row: entries of the list of campaigns name what to ask for")
	line(s.Extra, "rows more than records: a forensic report makes one for each piece of evidence")
	line(-s.EnricherDead, "in DEAD: no row can be made of them")
	line(-s.LostRecords, "left RAW before they became rows: too old, or purged")
	line(-s.Unmade, "wait for the enricher")
	printf(w, "%d\trows made\n", s.Rows)
	line(-s.ShipperDead, "in DEAD: the sink does not take them")
	line(-s.LostRows, "left EVENTS before they were delivered: too old, or purged")
	line(-s.Unconfirmed, "wait for the sink")
	printf(w, "%d\trows confirmed\n", s.Confirmed)
}
