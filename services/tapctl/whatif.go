package tapctl

import (
	"errors"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/window"
)

// whatIfConfig is what an imagined scheduler goes by besides the flags.
type whatIfConfig struct {
	plan.Settings
	Quota quota.Config
}

// imagined are the flags.
type imagined struct {
	poll, backfill string
	feeds          []string
	others, days   int
}

// whatIf tries a configuration out.
func (t *tool) whatIf() *cobra.Command {
	in := imagined{poll: "1m", backfill: "7d", days: 2}
	cmd := &cobra.Command{
		Use: "what-if", Short: "Say how calls would be spent, without making any", Args: takes(0),
		RunE: func(*cobra.Command, []string) error {
			var c whatIfConfig
			if err := config.Load(&c, t.Environ); err != nil {
				return err
			}
			q, err := in.question(c)
			if err != nil {
				return err
			}
			a := plan.WhatIf(q)
			return t.print(a, func(w io.Writer) { printAnswer(w, in, a) })
		},
	}
	cmd.Flags().StringVar(&in.poll, "poll", in.poll, "shortest time between live calls")
	cmd.Flags().StringVar(&in.backfill, "backfill", in.backfill, "how far back collection begins, such as 7d or 12h")
	cmd.Flags().StringSliceVar(&in.feeds, "feeds", feed.Names(feed.SIEM()), "feeds, separated by commas")
	cmd.Flags().IntVar(&in.others, "others", 0, "calls a day that others make with the credential")
	cmd.Flags().IntVar(&in.days, "days", in.days, "how many days to look at")
	return cmd
}

func (in imagined) question(c whatIfConfig) (plan.Question, error) {
	q := plan.Question{
		Settings: c.Settings, Limits: c.Quota.Limits(), Quota: c.Quota.Margin, Others: in.others,
		Span: time.Duration(in.days) * 24 * time.Hour,
	}
	var problems []error
	var err error
	if q.Poll, err = config.ParseAge(in.poll); err != nil || q.Poll < window.MinSpan || q.Poll > window.MaxSpan {
		problems = append(problems, config.Invalid("--poll", in.poll, "want 30s to 1h"))
	}
	if q.Backfill, err = config.ParseAge(in.backfill); err != nil || q.Backfill < 0 || q.Backfill > window.Lookback {
		problems = append(problems, config.Invalid("--backfill", in.backfill, "want an age such as 7d or 12h, at most 7d"))
	}
	for _, name := range in.feeds {
		f := feed.Feed(name)
		if !f.IsSIEM() {
			problems = append(problems, config.Invalid("--feeds", name, "want any of "+strings.Join(feed.Names(feed.SIEM()), ", ")))
		}
		q.Feeds = append(q.Feeds, f)
	}
	if in.days < 1 || in.days > 30 {
		problems = append(problems, config.Invalid("--days", itoa(in.days), "want 1 to 30"))
	}
	if in.others < 0 || in.others > 100000 {
		problems = append(problems, config.Invalid("--others", itoa(in.others), "want 0 to 100000"))
	}
	return q, errors.Join(problems...)
}

func printAnswer(w io.Writer, in imagined, a plan.Answer) {
	for _, s := range a.Sets {
		printf(w, "feeds\t%s\n", s.Set)
		printf(w, "pool\t%s, %d calls in 24 hours\n", s.Pool, s.Limit)
		printf(w, "calls in %d days\t%d live, %d sweep, %d backfill\n", in.days, s.Calls["live"], s.Calls["sweep"], s.Calls["backfill"])
		printf(w, "most in any 24 hours\t%d\n", s.Peak)
		printf(w, "live calls\tevery %s, at worst %s\n", s.Typical, s.Longest)
		if s.Backfill < 0 {
			printf(w, "backfill of %s\tnot done in this time\n", in.backfill)
		} else {
			printf(w, "backfill of %s\tdone after %s\n", in.backfill, s.Backfill)
		}
	}
}
