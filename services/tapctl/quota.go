package tapctl

import (
	"context"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/overview"
	"github.com/tapline/tapline/pkg/quota"
)

// quota shows the pools; its sub-command opens one.
func (t *tool) quota() *cobra.Command {
	cmd := &cobra.Command{
		Use: "quota", Short: "Show the calls of the last 24 hours, pool by pool", Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.withLimiter(cmd, func(ctx context.Context, limiter *quota.Limiter) error { return t.pools(ctx, limiter) })
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use: "open POOL", Short: "Lift what closes a pool besides counted calls: a 429 or lost memory", Args: takes(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			pool := feed.Pool(args[0])
			if !slices.Contains(feed.Pools(), pool) {
				return config.Invalid("POOL", args[0], "want one of the pools that tapctl quota shows")
			}
			return t.withLimiter(cmd, func(ctx context.Context, limiter *quota.Limiter) error {
				if err := limiter.Unblock(ctx, pool); err != nil {
					return err
				}
				t.say("pool %s is open\n", pool)
				return nil
			})
		},
	})
	cmd.AddCommand(t.whatIf())
	return cmd
}

func (t *tool) withLimiter(cmd *cobra.Command, work func(ctx context.Context, limiter *quota.Limiter) error) error {
	return t.connected(cmd, func(ctx context.Context, c Config, b *bus.Bus) error {
		bucket, err := b.Bucket(ctx, bus.BucketQuota)
		if err != nil {
			return err
		}
		return work(ctx, quota.NewLimiter(bucket, c.Tenant.Name, c.Quota, time.Now))
	})
}

func (t *tool) pools(ctx context.Context, limiter *quota.Limiter) error {
	pools, err := overview.Pools(ctx, limiter, time.Now())
	if err != nil {
		return err
	}
	return t.print(pools, func(w io.Writer) { printPools(w, pools) })
}

func printPools(w io.Writer, pools []overview.Pool) {
	printf(w, "POOL\tLIMIT\tUSED\tBY OTHERS\tLEFT\tBACK IN AN HOUR\tNEXT CALL\tNOTE\n")
	for _, p := range pools {
		limit, left, next := any(p.Limit), any(p.Left), "now"
		if p.Limit == feed.Unlimited {
			limit, left = "-", "-"
		}
		if wait := time.Until(p.Free); wait > time.Second {
			next = "in " + wait.Round(time.Second).String()
		}
		printf(w, "%s\t%v\t%d\t%d\t%v\t%d\t%s\t%s\n", p.Pool, limit, p.Used, p.External, left, p.NextHour, next, p.Reason)
	}
}
