package tapctl

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapline/tapline/pkg/overview"
)

// status shows one screen.
func (t *tool) status() *cobra.Command {
	zero := false
	cmd := &cobra.Command{
		Use: "status", Short: "Show how things stand, on one screen; status 3 if something needs a person, or nothing is known yet", Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.judging(cmd, func(ctx context.Context, r *overview.Reader) error {
				s, err := r.Status(ctx)
				if err != nil {
					return err
				}
				if err := t.print(s, func(w io.Writer) { printStatus(w, s) }); err != nil {
					return err
				}
				if !s.Verdict.OK && !zero {
					return errFound
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&zero, "exit-zero", false, "end with status 0 whatever the verdict is")
	return cmd
}

func printStatus(w io.Writer, s *overview.Status) {
	printf(w, "%s\n\ntenant %s at %s\n\n", s.Verdict.Text, s.Tenant, s.At.Format(time.RFC3339))
	for _, key := range s.Unreadable {
		printf(w, "cannot be read: %s\n", key)
	}
	printPrograms(w, s)
	printf(w, "FEED\tREAD\tCONFIRMED\tON ITS WAY\tSEALED\tBACKFILL\tEDGE\n")
	for _, f := range s.Feeds {
		printf(w, "%s\t%s\t%s\t%d\t%s\t%.0f h\t%.0f h\n", f.Feed, ago(s.At, f.Read), ago(s.At, f.Confirmed), f.Pending, ago(s.At, f.Sealed), f.Backfill, f.EdgeHours)
	}
	for _, o := range s.Others {
		printf(w, "%s\t%s\t%s\t%d\t-\t-\t-\n", o.Feed, ago(s.At, o.Read), ago(s.At, o.Delivered), o.Pending)
	}
	printf(w, "\nLANE\tOUTSTANDING\tWAITING\tIN WORK\n")
	for _, l := range s.Lanes {
		printf(w, "%s\t%d\t%d\t%d\n", l.Lane, l.Outstanding, l.Waiting, l.InWork)
	}
	printf(w, "sink\t%s\t%d\t%d\n", "last "+ago(s.At, s.Sink.Last), s.Sink.Waiting, s.Sink.InWork)
	printExpansion(w, s)
	printf(w, "\n")
	printPools(w, s.Pools)
	printf(w, "\nSTREAM\tMESSAGES\tBYTES\tOF\tREACHES BACK TO\tFULL AT THIS RATE\n")
	for _, u := range s.Streams {
		room := "-"
		if u.MaxBytes > 0 {
			room = fmt.Sprintf("%d (%.0f %%)", u.MaxBytes, 100*float64(u.Bytes)/float64(u.MaxBytes))
		}
		printf(w, "%s\t%d\t%d\t%s\t%s\t%s\n", u.Name, u.Messages, u.Bytes, room, ago(time.Now(), u.Oldest), fullIn(u))
	}
	printActive(w, s)
	printf(w, "\nALARMS: %d\n", len(s.Alarms))
	for _, a := range s.Alarms {
		printf(w, "%s (%s, since %s): %s\n", a.Name, a.Stage, a.Since.Format(time.RFC3339), a.Detail)
	}
	printUnproven(w, s)
	printf(w, "\nGAPS IN NINE DAYS: %d\n", len(s.Gaps))
	printGaps(w, s.Gaps)
}

// printPrograms says which programs run. Heartbeats go by the wall clock.
func printPrograms(w io.Writer, s *overview.Status) {
	if len(s.Programs) == 0 {
		return
	}
	printf(w, "PROGRAM\tREPLICAS\tHEARTBEAT\tVERSION\tSAYS\n")
	for _, p := range s.Programs {
		says := strings.Join(p.Troubles, "; ")
		if p.Needs != "" {
			says = p.Needs
		}
		if says == "" {
			says = "ok"
		}
		printf(w, "%s\t%d\t%s\t%s\t%s\n", p.Stage, p.Replicas, ago(time.Now(), p.Last), strings.Join(p.Versions, ", "), says)
	}
	printf(w, "\n")
}

// printUnproven says which windows are asked for again, and what was learned of Proofpoint.
func printUnproven(w io.Writer, s *overview.Status) {
	if len(s.Unproven) > 0 {
		printf(w, "\nUNPROVEN WINDOWS: %d\nFEEDS\tFROM\tTO\tFAILURES\tSINCE\tNEXT TRY\tLAST ANSWER\n", len(s.Unproven))
	}
	for _, u := range s.Unproven {
		printf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", u.Feeds, u.From.Format(time.RFC3339), u.To.Format(time.RFC3339), u.Failures,
			u.Since.Format(time.RFC3339), u.RetryAt.Format(time.RFC3339), u.Reason)
	}
	if s.Learned.Lag > 0 {
		printf(w, "\nPROOFPOINT IS %.0f s BEHIND ITS CLOCK, as of %s: windows end that much earlier\n", s.Learned.Lag, s.Learned.LagAt.Format(time.RFC3339))
	}
	for _, l := range s.Learned.Shapes {
		printf(w, "\nANSWERS LACK %s and are believed: none ever had it, as two endpoints agree since %s\n", l.Lacks, l.At.Format(time.RFC3339))
	}
}

// fullIn says when a stream will be full. History that is delivered goes first then; only what is
// not holds up live reading.
func fullIn(u overview.Stream) string {
	switch {
	case u.Rate == 0:
		return "-"
	case u.FullIn == 0:
		return "never: it keeps eight days"
	case u.FullIn < 48:
		return fmt.Sprintf("in %.1f h", u.FullIn)
	}
	return fmt.Sprintf("in %.1f days", u.FullIn/24)
}

// printActive says which replays are not over; the command replay ls lists the others, too.
func printActive(w io.Writer, s *overview.Status) {
	if len(s.Replays) > 0 {
		printf(w, "\nREPLAY\tSTATE\tDONE\tMESSAGES\tROWS\tSINCE\n")
	}
	for _, r := range s.Replays {
		kind := "sent"
		if r.Reprocess {
			kind = "made"
		}
		state := r.State
		if r.Reason != "" {
			state += " (" + r.Reason + ")"
		}
		printf(w, "%s\t%s\t%.0f %%\t%d of %d\t%d %s\t%s\n", r.ID, state, 100*r.Progress, r.Settled, r.Messages, r.Rows, kind, ago(s.At, r.Changed))
	}
}

func printExpansion(w io.Writer, s *overview.Status) {
	if len(s.Lists) > 0 {
		printf(w, "\nLIST\tREAD\tPAGES\tNEXT\n")
	}
	for _, l := range s.Lists {
		next := "in " + l.Due.Sub(s.At).Round(time.Second).String()
		if l.Page > 0 {
			next = fmt.Sprintf("page %d is being read", l.Page)
		}
		printf(w, "%s\t%s\t%d\t%s\n", l.List, ago(s.At, l.Head), l.Pages, next)
	}
	x := s.Expand
	printf(w, "\nEXPANSION IN SIX HOURS\t%d named, %d known (%.0f %%), %d ordered, %d amended, %d dead; %d batches to search\n",
		x.Named, x.Known, 100*x.HitRate, x.Ordered, x.Amended, x.Dead, x.Waiting+uint64(x.InWork))
	for _, f := range x.Forensics {
		printf(w, "%s\t%d waiting, by importance; %.1f days at the limit\n", f.Call, f.Levels, f.Days)
	}
}

// ago is how long before now something was.
func ago(now, at time.Time) string {
	if at.IsZero() || at.Unix() == 0 {
		return "never"
	}
	return now.Sub(at).Round(time.Second).String() + " ago"
}
