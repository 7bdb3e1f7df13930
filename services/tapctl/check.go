package tapctl

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/embedded"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/devoquery"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/services/enricher"
	"github.com/tapline/tapline/services/fetcher"
	"github.com/tapline/tapline/services/scheduler"
	"github.com/tapline/tapline/services/shipper"
)

// finding is what one check found.
type finding struct {
	What   string `json:"what"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

const (
	checkTimeout = 30 * time.Second
	// busTimeout is shorter: a server that is there answers at once.
	busTimeout = 5 * time.Second
)

// settings is what all services together read.
type settings struct {
	Scheduler scheduler.Config
	Fetcher   fetcher.Config
	Enricher  enricher.Config
	Shipper   shipper.Config
	Bus       bus.Config
	Limits    bus.Limits
	Telemetry telemetry.Config
}

// check tries everything that Tapline talks to.
func (t *tool) check() *cobra.Command {
	offline, stores, conf := false, []string{}, ""
	cmd := &cobra.Command{
		Use: "check", Short: "Try NATS, the sink and the Proofpoint credential; spends no SIEM call", Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(stores) > 0 {
				if err := checkStores(stores, conf); err != nil {
					return err
				}
			}
			if offline {
				return t.checkSettings(stores)
			}
			findings := t.checkAll(cmd)
			err := t.print(findings, func(w io.Writer) {
				for _, f := range findings {
					printf(w, "%s\t%s\t%s\n", map[bool]string{true: "ok", false: "FAILED"}[f.OK], f.What, f.Detail)
				}
			})
			if err != nil {
				return err
			}
			for _, f := range findings {
				if !f.OK {
					return errFound
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&offline, "settings", false, "only check the settings of all services, without any connection")
	cmd.Flags().StringArrayVar(&stores, "store", nil, "look whether the key of the NATS server opens this store_dir of it, too; may be repeated")
	cmd.Flags().StringVar(&conf, "encryption", "", encryptionUsage)
	return cmd
}

// checkAll tries each thing by itself and all at once, so that what is down or not configured hides
// nothing else.
func (t *tool) checkAll(cmd *cobra.Command) []finding {
	checkBus := func(ctx context.Context) (finding, bool) { return t.checkBus(ctx, cmd) }
	checks := []func(context.Context) (finding, bool){checkBus, t.checkSink, t.checkAPI, t.checkQueries}
	findings, applies := make([]finding, len(checks)), make([]bool, len(checks))
	var running sync.WaitGroup
	for i, check := range checks {
		running.Go(func() {
			ctx, cancel := context.WithTimeout(cmd.Context(), checkTimeout)
			defer cancel()
			findings[i], applies[i] = check(ctx)
		})
	}
	running.Wait()
	all := []finding{}
	for i, f := range findings {
		if applies[i] {
			all = append(all, f)
		}
	}
	return all
}

func (t *tool) checkSink(ctx context.Context) (finding, bool) {
	var c shipper.Config
	if err := config.Load(&c, t.Environ); err != nil {
		return found("sink", "", err), true
	}
	detail, err := shipper.Check(ctx, c)
	return found("sink "+c.Sink, detail, err), true
}

func (t *tool) checkAPI(ctx context.Context) (finding, bool) {
	var c fetcher.API
	if err := config.Load(&c, t.Environ); err != nil {
		return found("Proofpoint", "", err), true
	}
	detail, err := fetcher.Check(ctx, c)
	return found("Proofpoint", detail, err), true
}

// checkSettings reads what every service will read, and says all at once what is wrong with it.
func (t *tool) checkSettings(stores []string) error {
	var s settings
	if err := config.Load(&s, t.Environ); err != nil {
		return err
	}
	if _, err := s.Scheduler.Start.Instant(time.Now()); err != nil {
		return err
	}
	t.say("the settings of all services can be used: tenant %s, from %s to sink %s\n", s.Shipper.Tenant.Name, s.Fetcher.API.URL, s.Shipper.Sink)
	for _, dir := range stores {
		if err := t.warnOfRoom(dir, s.Limits); err != nil {
			return err
		}
	}
	return nil
}

// warnOfRoom warns when RAW and EVENTS may outgrow the file system of a server's store. That is no
// error: they may never.
func (t *tool) warnOfRoom(dir string, limits bus.Limits) error {
	free, err := embedded.Free(dir)
	if err != nil {
		return err
	}
	used, err := embedded.Used(dir)
	if err != nil {
		return err
	}
	if may := uint64(limits.RawMaxBytes) + uint64(limits.EventsMaxBytes); may > used && may-used > free {
		t.say("warning: %s has %d MiB free, and RAW and EVENTS may take another %d MiB: free space, or lower STREAM_RAW_MAX_BYTES and STREAM_EVENTS_MAX_BYTES\n",
			dir, free>>20, (may-used)>>20)
	}
	return nil
}

// checkQueries asks Devo for a minute of one table, if it may be asked at all.
func (t *tool) checkQueries(ctx context.Context) (f finding, applies bool) {
	var conf readbackConfig
	if err := config.Load(&conf, t.Environ); err != nil {
		return found("Devo queries", "", err), true
	}
	c := conf.Query
	if c.Token == "" && c.Key == "" && c.Secret == "" {
		return f, false
	}
	devo, err := devoquery.New(c)
	if err != nil {
		return found("Devo queries", "", err), true
	}
	defer devo.Close()
	now, rows := time.Now(), 0
	table := feed.ClicksBlocked.Table()
	err = devo.Rows(ctx, devoquery.Query{Table: table, From: now.Add(-time.Minute), To: now}, func([]byte) error {
		rows++
		return nil
	})
	return found("Devo queries", fmt.Sprintf("%s answers: %d rows of a minute of %s", c.URL, rows, table), err), true
}

func found(what, detail string, err error) finding {
	if err != nil {
		return finding{what, false, strings.ReplaceAll(err.Error(), "\n", "; ")}
	}
	return finding{what, true, detail}
}

// checkBus also counts the call that checks Proofpoint, whose pool has no limit.
func (t *tool) checkBus(ctx context.Context, cmd *cobra.Command) (finding, bool) {
	ctx, cancel := context.WithTimeout(ctx, busTimeout)
	defer cancel()
	err := t.connectedFor(ctx, cmd, func(ctx context.Context, c Config, b *bus.Bus) error {
		bucket, err := b.Bucket(ctx, bus.BucketQuota)
		if err != nil {
			return err
		}
		for _, consumer := range []bus.Consumer{bus.ConsumerFetcherLive, bus.ConsumerEnricher, bus.ConsumerShipper} {
			if _, err := b.Backlog(ctx, consumer); err != nil {
				return err
			}
		}
		return quota.NewLimiter(bucket, c.Tenant.Name, c.Quota, time.Now).Reserve(ctx, feed.PoolNone)
	})
	return found("NATS", "streams, consumers and buckets are there", err), true
}

func itoa(n int) string { return strconv.Itoa(n) }
