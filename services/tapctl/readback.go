package tapctl

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/devoquery"
	"github.com/tapline/tapline/pkg/overview"
	"github.com/tapline/tapline/services/tapctl/internal/readback"
)

// readbackFlags select what is read back.
type readbackFlags struct {
	on       bool
	from, to string
}

// readbackConfig is what only the comparison with Devo needs.
type readbackConfig struct{ Query devoquery.Config }

func (f *readbackFlags) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.on, "devo", false, "compare what Devo has, by queries (DEVO_QUERY_TOKEN), with what was confirmed")
	cmd.Flags().StringVar(&f.from, "from", "", "with --devo: rows stored from here on: RFC 3339, or an age such as 2h; 24h before --to if empty")
	cmd.Flags().StringVar(&f.to, "to", "", "with --devo: rows stored before; what Devo can be expected to have (DEVO_QUERY_SETTLE) if empty")
}

// span reads the flags.
func (f *readbackFlags) span(now time.Time, settle time.Duration) (from, to time.Time, err error) {
	to = now.Add(-settle)
	if f.to != "" {
		if to, err = instant("--to", f.to, now); err != nil {
			return from, to, err
		}
	}
	from = to.Add(-24 * time.Hour)
	if f.from != "" {
		if from, err = instant("--from", f.from, now); err != nil {
			return from, to, err
		}
	}
	if !from.Before(to) {
		return from, to, config.Invalid("--from", f.from, "want a moment before "+to.Format(time.RFC3339))
	}
	return from, to, nil
}

// readBack compares what was confirmed with what Devo has.
func (t *tool) readBack(cmd *cobra.Command, f *readbackFlags) error {
	var c readbackConfig
	if err := config.Load(&c, t.Environ); err != nil {
		return err
	}
	devo, err := devoquery.New(c.Query)
	if err != nil {
		return err
	}
	defer devo.Close()
	from, to, err := f.span(t.Now().UTC(), c.Query.Settle)
	if err != nil {
		return err
	}
	return t.reading(cmd, func(ctx context.Context, r *overview.Reader, b *bus.Bus) error {
		if err := exists(ctx, r); err != nil {
			return err
		}
		asked := from
		if from, err = stored(ctx, b, from); err != nil {
			return err
		}
		report, err := readback.Comparison{
			Bus: b, Ledger: r.Ledger, Devo: devo, Tenant: r.Tenant(), From: from, To: to, Settle: c.Query.Settle, Now: t.Now,
		}.Run(ctx)
		if err != nil {
			return err
		}
		answer := readBackAnswer{Report: report, Repair: repairs(report)}
		if from.After(asked) {
			answer.Asked = &asked
		}
		if err := t.print(answer, func(w io.Writer) { printReadBack(w, answer) }); err != nil {
			return err
		}
		if !report.Good() {
			return errFound
		}
		return nil
	})
}

// readBackAnswer is what is printed.
type readBackAnswer struct {
	*readback.Report
	Repair []string   `json:"repair"`               // commands that send again what is missing
	Asked  *time.Time `json:"asked_from,omitempty"` // if EVENTS has not everything from there on
}

// stored is from when on EVENTS has everything, if that is later. What left it, by age or to make
// room, can neither be compared nor resent.
func stored(ctx context.Context, b *bus.Bus, from time.Time) (time.Time, error) {
	usage, err := b.Usage(ctx, bus.StreamEvents)
	if err != nil || usage.First <= 1 || usage.Messages == 0 || !from.Before(usage.Oldest) {
		return from, err
	}
	return usage.Oldest.UTC(), nil
}

// maxNamed is how many missing rows of a table are resent by name; more of them by time.
const maxNamed = 10

// repairs says how to send again what is missing.
func repairs(r *readback.Report) []string {
	commands := []string{}
	for _, table := range r.Tables {
		if table.Missing == 0 {
			continue
		}
		command := "tapctl replay --all --table " + table.Table
		var named []string
		for _, row := range r.Missing {
			if row.Table == table.Table {
				named = append(named, row.TaplineID)
			}
		}
		if len(named) <= maxNamed && int64(len(named)) == table.Missing {
			commands = append(commands, command+" --id "+strings.Join(named, " --id "))
			continue
		}
		commands = append(commands, command+" --from "+r.From.Format(time.RFC3339Nano)+" --to "+r.To.Format(time.RFC3339Nano))
	}
	return commands
}

func printReadBack(w io.Writer, a readBackAnswer) {
	printf(w, "rows stored from %s to %s, %d of them on their way\n", a.From.Format(time.RFC3339), a.To.Format(time.RFC3339), a.Pending)
	if a.Asked != nil {
		printf(w, "not compared: rows stored from %s to %s, which EVENTS no longer has\n", a.Asked.Format(time.RFC3339), a.From.Format(time.RFC3339))
	}
	printf(w, "TABLE\tCONFIRMED\tFOUND\tMISSING\tDOUBLED\tNOT COMPARED\n")
	for _, t := range a.Tables {
		printf(w, "%s\t%d\t%d\t%d\t%d\t%d\n", t.Table, t.Confirmed, t.Found, t.Missing, t.Doubled, t.Nameless)
	}
	if len(a.Windows) > 0 {
		printf(w, "\nTABLE\tWINDOW\t\tMISSING\tDOUBLED\n")
	}
	for _, v := range a.Windows {
		printf(w, "%s\t%s\t%s\t%d\t%d\n", v.Table, v.From.Format(time.RFC3339), v.To.Format(time.RFC3339), v.Missing, v.Doubled)
	}
	for _, list := range []struct {
		what string
		rows []readback.Row
	}{{"missing", a.Missing}, {"doubled", a.Doubled}} {
		for _, row := range list.rows {
			printf(w, "%s: %s %s, EVENTS/%d, there %d times\n", list.what, row.TaplineID, row.Table, row.Event, row.Times)
		}
	}
	if len(a.Missing) == readback.MaxListed || len(a.Doubled) == readback.MaxListed || len(a.Windows) == readback.MaxListed {
		printf(w, "(lists end after %d lines)\n", readback.MaxListed)
	}
	for _, command := range a.Repair {
		printf(w, "to resend it: %s\n", command)
	}
	switch {
	case a.Compared == 0:
		printf(w, "nothing was compared: no row stored in that span is confirmed and old enough to be found (DEVO_QUERY_SETTLE)\n")
	case a.Good():
		printf(w, "Devo has everything that was confirmed: %d rows\n", a.Compared)
	}
}
