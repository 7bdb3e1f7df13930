package tapctl

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/overview"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/step"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// retryResult is a span of time to be read once more, and what comes of it.
type retryResult struct {
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	Feeds feed.Set  `json:"feeds"`
	// Served is where what Proofpoint still serves of it begins; zero if nothing is.
	Served time.Time `json:"served_from,omitzero"`
	// Ordered says that the scheduler will plan it.
	Ordered bool `json:"ordered"`
}

// retryFlags are those of tapctl retry.
type retryFlags struct {
	lost, dry bool
	feeds     []string
}

// retry puts back into the plan what Proofpoint still serves.
func (t *tool) retry() *cobra.Command {
	var f retryFlags
	cmd := &cobra.Command{
		Use: "retry START/END|JOB|--lost", Short: "Read a span of time once more, or all that is lost, as far as Proofpoint still serves it",
		Long: "Reads a span of time once more, or all that is lost, as far as Proofpoint still serves it.\n\n" +
			"The span is two instants in RFC 3339 with a slash between them, or the id of a job as tapctl ledger and gaps print it.\n" +
			"Records that were read before are known, and make no second row.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == f.lost {
				return config.Invalid("command line", strings.Join(args, " "), "want a span START/END, the id of a job, or --lost")
			}
			only, err := siemFeeds(f.feeds)
			if err != nil {
				return err
			}
			return t.reading(cmd, func(ctx context.Context, r *overview.Reader, b *bus.Bus) error {
				if err := exists(ctx, r); err != nil {
					return err
				}
				spans, err := f.spans(ctx, r, args, only, t.Now())
				if err != nil {
					return err
				}
				return t.orderAll(ctx, b, r.Tenant(), spans, f.dry)
			})
		},
	}
	cmd.Flags().BoolVar(&f.lost, "lost", false, "everything that tapctl gaps calls lost, but for rows that left a stream after they were read")
	cmd.Flags().StringSliceVar(&f.feeds, "feed", nil, "only these feeds, separated by commas; all that are collected if empty")
	cmd.Flags().BoolVar(&f.dry, "dry-run", false, "only say what would be read")
	return cmd
}

// siemFeeds reads names of feeds that are read by windows.
func siemFeeds(names []string) (set feed.Set, err error) {
	for _, name := range names {
		f := feed.Feed(name)
		if !f.IsSIEM() {
			return nil, config.Invalid("--feed", name, "want one of "+strings.Join(feed.Names(feed.SIEM()), ", "))
		}
		set = append(set, f)
	}
	return set, nil
}

// spans lists what is to be read.
func (f *retryFlags) spans(ctx context.Context, r *overview.Reader, args []string, only feed.Set, now time.Time) ([]retryResult, error) {
	if f.lost {
		return lostSpans(ctx, r, only)
	}
	feeds, err := r.Feeds(ctx)
	if err != nil {
		return nil, err
	}
	w, set, err := spanOf(args[0], r.Tenant())
	if err != nil {
		return nil, err
	}
	if !w.Start.Before(now) {
		return nil, config.Invalid("START/END", args[0], "lies in the future")
	}
	if len(set) > 0 {
		feeds = set
	}
	if len(only) > 0 {
		feeds = only
	}
	return []retryResult{{From: w.Start, To: w.End, Feeds: feeds}}, nil
}

// spanOf reads START/END, or the id of a job, which says the feeds, too.
func spanOf(text, tenant string) (window.Window, feed.Set, error) {
	if id, err := job.Parse(text); err == nil {
		switch {
		case id.Call.Kind() != feed.KindWindow:
			return window.Window{}, nil, config.Invalid("JOB", text, "is not about a window of SIEM records; lists are read again by themselves, and ids by tapctl dead retry")
		case id.Tenant != tenant:
			return window.Window{}, nil, config.Invalid("JOB", text, "is of tenant "+id.Tenant+": set TENANT")
		}
		return id.Window, id.Set, nil
	}
	first, second, ok := strings.Cut(text, "/")
	start, err := time.Parse(time.RFC3339, first)
	end, endErr := time.Parse(time.RFC3339, second)
	if !ok || err != nil || endErr != nil || !start.Before(end) {
		return window.Window{}, nil, config.Invalid("START/END", text, "want two instants such as 2026-03-11T08:00:00Z/2026-03-11T09:00:00Z, or the id of a job")
	}
	return window.New(start.UTC().Truncate(time.Second), end.UTC().Add(time.Second-1).Truncate(time.Second)), nil, nil
}

// lostSpans lists what is lost and unread, with all feeds of one span together. Records whose rows
// left a stream undelivered are known: another reading would not bring them back.
func lostSpans(ctx context.Context, r *overview.Reader, only feed.Set) ([]retryResult, error) {
	gaps, _, err := r.Gaps(ctx)
	if err != nil {
		return nil, err
	}
	var spans []retryResult
	for _, g := range gaps {
		if g.State != overview.Lost || g.Undelivered || (len(only) > 0 && !slices.Contains(only, g.Feed)) {
			continue
		}
		i := slices.IndexFunc(spans, func(a retryResult) bool { return a.From.Equal(g.From) && a.To.Equal(g.To) })
		if i < 0 {
			i = len(spans)
			spans = append(spans, retryResult{From: g.From, To: g.To})
		}
		spans[i].Feeds = append(spans[i].Feeds, g.Feed)
	}
	slices.SortFunc(spans, func(a, b retryResult) int { return cmp.Or(a.From.Compare(b.From), a.To.Compare(b.To)) })
	return spans, nil
}

// orderAll has the scheduler plan the spans and says what comes of each.
func (t *tool) orderAll(ctx context.Context, b *bus.Bus, tenant string, spans []retryResult, dry bool) error {
	state, err := b.Bucket(ctx, bus.BucketState)
	if err != nil {
		return err
	}
	now, none := t.Now().UTC(), len(spans) > 0
	for i := range spans {
		s := &spans[i]
		served := window.New(s.From, s.To).Within(window.New(plan.Oldest(now), now))
		if served.Empty() {
			continue
		}
		s.Served, none = served.Start, false
		if dry {
			continue
		}
		order := &taplinev1.Retry{Window: window.New(s.From, s.To).Proto(), Feeds: feed.Names(s.Feeds)}
		if err := plan.RequestRetry(ctx, state, tenant, now, order); err != nil {
			return err
		}
		s.Ordered = true
	}
	if spans == nil {
		spans = []retryResult{}
	}
	if err := t.print(spans, func(w io.Writer) { printAgain(w, spans, plan.Oldest(now)) }); err != nil {
		return err
	}
	if none {
		return errFound
	}
	return nil
}

func printAgain(w io.Writer, spans []retryResult, oldest time.Time) {
	if len(spans) == 0 {
		printf(w, "nothing is lost that can be read once more\n")
	}
	for _, s := range spans {
		what := "is read once more: see tapctl gaps"
		switch {
		case s.Served.IsZero():
			what = "is too old: Proofpoint serves from " + oldest.Format(time.RFC3339) + " on"
		case !s.Ordered:
			what = "would be read once more"
		}
		if s.Served.After(s.From) {
			what += fmt.Sprintf("; what lies before %s is too old", s.Served.Format(time.RFC3339))
		}
		printf(w, "%s/%s %s: %s\n", s.From.Format(time.RFC3339), s.To.Format(time.RFC3339), strings.Join(feed.Names(s.Feeds), ","), what)
	}
}

// readAgain puts a window that a fetcher gave up back into the plan.
func (t *tool) readAgain(ctx context.Context, c Config, b *bus.Bus, d deadLetter, j *taplinev1.Job) error {
	w, err := window.FromProto(j.GetWindow())
	if err != nil {
		return fmt.Errorf("dead letter %d: %w", d.stored.Sequence, err)
	}
	span := retryResult{From: w.Start, To: w.End}
	for _, name := range j.GetFeeds() {
		span.Feeds = append(span.Feeds, feed.Feed(name))
	}
	if err := t.orderAll(ctx, b, c.Tenant.Name, []retryResult{span}, false); err != nil {
		return err
	}
	step.At("dead.planned")
	return remove(ctx, b, d)
}
