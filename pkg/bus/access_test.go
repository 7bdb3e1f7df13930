package bus_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/bus/embedded"
	"github.com/tapline/tapline/pkg/config"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

const deployed = "../../deploy/nats"

// guest is a raw connection of a user that records what the server denies.
type guest struct {
	*nats.Conn

	mu     sync.Mutex
	denied []string
}

func newGuest(t *testing.T, server *bustest.Guarded, user string) *guest {
	t.Helper()
	g := &guest{}
	c := server.As(user)
	nc, err := nats.Connect(c.URL, nats.UserInfo(c.User, c.Password.Reveal()), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.denied = append(g.denied, err.Error())
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	g.Conn = nc
	return g
}

// has reports whether the server has denied something about a subject.
func (g *guest) has(subject string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.denied, func(text string) bool {
		return strings.Contains(strings.ToLower(text), "permissions violation") && strings.Contains(text, `"`+subject+`"`)
	})
}

// matches says whether a pattern covers a subject.
func matches(pattern, subject string) bool {
	want, have := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, token := range want {
		switch {
		case token == ">":
			return len(have) > i
		case i >= len(have) || (token != "*" && token != have[i]):
			return false
		}
	}
	return len(want) == len(have)
}

func allowed(patterns []string, subject string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, subject) })
}

// mastery is what only the admin may do.
func mastery() []string {
	var subjects []string
	for _, stream := range []string{"JOBS", "RAW", "EVENTS", "DEAD", "KV_QUOTA", "KV_LEDGER", "KV_SEEN", "KV_STATE", "KV_KNOWN", "KV_REPLAY"} {
		for _, verb := range []string{"STREAM.DELETE", "STREAM.PURGE", "STREAM.UPDATE", "STREAM.MSG.DELETE", "STREAM.MSG.GET", "CONSUMER.CREATE", "CONSUMER.LIST"} {
			subjects = append(subjects, "$JS.API."+verb+"."+stream)
		}
		subjects = append(subjects, "$JS.API.CONSUMER.DELETE."+stream+".x", "$JS.API.CONSUMER.DURABLE.CREATE."+stream+".x", "$JS.API.CONSUMER.CREATE."+stream+".x")
	}
	return append(subjects, "$JS.API.STREAM.CREATE.x", "$JS.API.STREAM.LIST", "$JS.API.ACCOUNT.PURGE.x", "anything.else", "$SYS.REQ.SERVER.PING")
}

// TestUsersMayDoTheirWorkOnly tries everything that any user may do, and what only the admin may
// do, as each of them.
func TestUsersMayDoTheirWorkOnly(t *testing.T) {
	t.Parallel()
	server := bustest.StartGuarded(t, deployed)
	concrete := strings.NewReplacer("*", "x", ">", "x.y")
	tries, inboxes := mastery(), []string(nil)
	for _, u := range bus.Users()[1:] {
		for _, pattern := range u.Publish() {
			tries = append(tries, concrete.Replace(pattern))
		}
		for _, pattern := range u.Subscribe() {
			inboxes = append(inboxes, concrete.Replace(pattern))
		}
	}
	for _, u := range bus.Users()[1:] {
		t.Run(u.Name, func(t *testing.T) {
			t.Parallel()
			g := newGuest(t, server, u.Name)
			refused := 0
			for _, subject := range tries {
				if !allowed(u.Publish(), subject) {
					refused++
				}
				if err := g.Publish(subject, nil); err != nil {
					t.Fatal(err)
				}
			}
			for _, subject := range inboxes {
				if _, err := g.SubscribeSync(subject); err != nil {
					t.Fatal(err)
				}
			}
			if err := g.Flush(); err != nil {
				t.Fatal(err)
			}
			if refused < len(mastery())-len(bus.Parts())/2 { // a viewer may ask the leaders of streams
				t.Errorf("only %d of %d are to be refused", refused, len(tries))
			}
			last := tries[slices.IndexFunc(tries, func(s string) bool { return !allowed(u.Publish(), s) })]
			await(t, func() bool { return g.has(last) })
			for _, subject := range tries {
				if want := !allowed(u.Publish(), subject); want {
					await(t, func() bool { return g.has(subject) })
				} else if g.has(subject) {
					t.Errorf("%s may not publish on %s, which its work takes", u.Name, subject)
				}
			}
			for _, subject := range inboxes {
				if !allowed(u.Subscribe(), subject) {
					await(t, func() bool { return g.has(subject) })
				} else if g.has(subject) {
					t.Errorf("%s may not listen to its own answers", u.Name)
				}
			}
		})
	}
}

// TestNoStageDoesTheWorkOfOthers says in words of the bus what must not work.
func TestNoStageDoesTheWorkOfOthers(t *testing.T) {
	t.Parallel()
	server := bustest.StartGuarded(t, deployed)
	admin := as(t, server, bus.UserAdmin, "tapctl")
	if err := admin.Setup(t.Context(), bustest.Limits, []bus.Seed{{Bucket: bus.BucketQuota, Key: "main.siem", Value: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	put := func(bucket, key string) func(context.Context, *bus.Bus) error {
		return func(ctx context.Context, b *bus.Bus) error {
			k, err := b.Bucket(ctx, bucket)
			if err != nil {
				return err
			}
			return k.Put(ctx, key, []byte("forged"))
		}
	}
	events := func(ctx context.Context, b *bus.Bus) error {
		_, err := b.PublishEvents(ctx, []byte("x"), bus.EventMeta{Tenant: "main", Table: "a.b", MsgID: "x"})
		return err
	}
	read := func(c bus.Consumer) func(context.Context, *bus.Bus) error {
		return func(ctx context.Context, b *bus.Bus) error {
			sub, err := b.Subscribe(ctx, c, 1)
			if err == nil {
				sub.Stop()
			}
			return err
		}
	}
	window := func(ctx context.Context, b *bus.Bus) error {
		_, err := b.StoreJob(ctx, bus.JobOutput{Tenant: "main", JobID: "x", Batches: func(func(bus.RawMessage, error) bool) {}, Marker: []byte("x")})
		return err
	}
	order := func(ctx context.Context, b *bus.Bus) error { return b.PublishJob(ctx, job()) }
	deadLetter := func(stage string) func(context.Context, *bus.Bus) error {
		return func(ctx context.Context, b *bus.Bus) error {
			return b.PublishDead(ctx, &taplinev1.DeadLetter{Tenant: "main", Stage: stage, Feed: "x"}, "x")
		}
	}
	setup := func(ctx context.Context, b *bus.Bus) error { return b.Setup(ctx, bustest.Limits, nil) }
	for _, c := range []struct {
		user, what string
		try        func(context.Context, *bus.Bus) error
	}{
		{"scheduler", "makes rows", events},
		{"scheduler", "stores records", window},
		{"scheduler", "takes jobs", read(bus.ConsumerFetcherLive)},
		{"scheduler", "says what was shipped", put(bus.BucketLedger, "sent.main.x")},
		{"fetcher", "plans", order},
		{"fetcher", "makes rows", events},
		{"fetcher", "takes rows", read(bus.ConsumerShipper)},
		{"fetcher", "changes the plan", put(bus.BucketState, "main.x")},
		{"fetcher", "makes streams", setup},
		{"enricher", "stores records", window},
		{"enricher", "takes jobs", read(bus.ConsumerFetcherLive)},
		{"enricher", "takes rows", read(bus.ConsumerShipper)},
		{"enricher", "spends calls", put(bus.BucketQuota, "main.siem")},
		{"enricher", "stores dead letters for others", deadLetter("shipper")},
		{"shipper", "makes rows", events},
		{"shipper", "plans", order},
		{"shipper", "takes records", read(bus.ConsumerEnricher)},
		{"shipper", "says what was read", put(bus.BucketLedger, "read.main.x")},
		{"shipper", "spends calls", put(bus.BucketQuota, "main.siem")},
	} {
		t.Run(c.user+" "+c.what, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond) // a denied call shows as a time-out
			defer cancel()
			if err := c.try(ctx, as(t, server, c.user, c.user)); err == nil {
				t.Errorf("a %s %s", c.user, c.what)
			}
			if err := c.try(t.Context(), admin); err != nil && !errors.Is(err, bus.ErrAlreadyStored) && !errors.Is(err, bus.ErrOutstanding) {
				t.Errorf("the same try as admin: %v", err) // so it was refused because of the user
			}
		})
	}
}

func as(tb testing.TB, server *bustest.Guarded, user, name string) *bus.Bus {
	tb.Helper()
	b, err := bus.Connect(tb.Context(), server.As(user), name, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(b.Close)
	return b
}

// TestSetupSaysWhatIsDenied: a server that does not allow something is not one that will answer
// later.
func TestSetupSaysWhatIsDenied(t *testing.T) {
	t.Parallel()
	b := as(t, bustest.StartGuarded(t, deployed), "fetcher", "fetcher")
	err := b.Setup(t.Context(), bustest.Limits, nil)
	if err == nil || !strings.Contains(err.Error(), "permissions violation") || !strings.Contains(err.Error(), "$JS.API.") {
		t.Errorf("setup as a fetcher: %v", err)
	}
}

// TestNoPasswordNoLogin: passwords of before have none for those who came later, and
// nothing is one for them.
func TestNoPasswordNoLogin(t *testing.T) {
	t.Parallel()
	server := bustest.StartGuarded(t, deployed)
	server.Reload(t, map[string]string{bus.UserViewer: "", bus.UserOperator: ""})
	as(t, server, bus.UserAdmin, "tapctl")
	for _, user := range []string{bus.UserViewer, bus.UserOperator} {
		for _, password := range []config.Secret{"", "none", "$2a$11$none", config.Secret(user)} {
			c := server.As(user)
			c.Password = password
			if b, err := bus.Connect(t.Context(), c, "tapctl", slog.New(slog.DiscardHandler)); err == nil {
				b.Close()
				t.Errorf("%s logs in with %q", user, password.Reveal())
			}
		}
	}
}

// TestAViewerReadsEverything: as the admin does, from every stream and bucket, and leaves no
// consumer behind.
func TestAViewerReadsEverything(t *testing.T) {
	t.Parallel()
	server := bustest.StartGuarded(t, deployed)
	admin := as(t, server, bus.UserAdmin, "tapctl")
	if err := admin.Setup(t.Context(), bustest.Limits, []bus.Seed{{Bucket: bus.BucketQuota, Key: "main.siem", Value: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	at := rows(t, admin, 5)
	if err := admin.PublishJob(t.Context(), job()); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{bus.UserViewer, bus.UserOperator} {
		b := as(t, server, user, "tapctl")
		if got, err := scanned(t.Context(), b, bus.Events("main", "a.one", "a.two").Since(at[1])); err != nil || len(got) != 4 {
			t.Errorf("%s scans %v: %v", user, got, err)
		}
		if e, err := b.Extent(t.Context(), bus.Events("main"), at[2], time.Time{}); err != nil || e.Messages != 3 {
			t.Errorf("%s measures %+v: %v", user, e, err)
		}
		for _, name := range []string{bus.BucketQuota, bus.BucketLedger, bus.BucketSeen, bus.BucketKnown, bus.BucketState, bus.BucketReplay} {
			bucket, err := b.Bucket(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			if keys, err := bucket.Keys(t.Context(), ">"); err != nil || (len(keys) == 1) != (name == bus.BucketQuota) {
				t.Errorf("%s lists %v in %s: %v", user, keys, name, err)
			}
			if _, err := bucket.Select(t.Context(), ">"); err != nil {
				t.Errorf("%s reads %s: %v", user, name, err)
			}
		}
		if m, err := b.Message(t.Context(), bus.StreamJobs, 1); err != nil || len(m.Data) == 0 {
			t.Errorf("%s reads a job: %v", user, err)
		}
		if w, err := b.Oldest(t.Context(), bus.ConsumerFetcherLive); err != nil || w.Since.IsZero() {
			t.Errorf("%s sees what waits: %v, %v", user, w, err)
		}
		if err := b.Denied(); err != nil {
			t.Errorf("%s: %v", user, err)
		}
	}
}

// TestConfiguredAsEmbedded: what holds for the server inside of tapline holds for that of
// docker-compose.yml.
func TestConfiguredAsEmbedded(t *testing.T) {
	t.Parallel()
	o := bustest.StartGuarded(t, deployed).Options
	if !o.SyncAlways || o.MaxPayload != embedded.MaxPayload || o.JetStreamLimits.MaxBatchSize != embedded.MaxBatch || o.SystemAccount == "" {
		t.Errorf("sync always %v, max payload %d, batch of %d messages, system account %q", o.SyncAlways, o.MaxPayload, o.JetStreamLimits.MaxBatchSize, o.SystemAccount)
	}
}

// TestPasswordChangesUnderway: a service keeps running when its password is changed, without a
// restart.
func TestPasswordChangesUnderway(t *testing.T) {
	t.Parallel()
	server := bustest.StartGuarded(t, deployed)
	file := filepath.Join(t.TempDir(), "password")
	write := func(password string) {
		if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("admin")
	c := server.As(bus.UserAdmin)
	c.Password, c.PasswordFile = "", file
	b, err := bus.Connect(t.Context(), c, "tapctl", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	states := make(chan bool, 10)
	b.OnState(func(connected bool) { states <- connected })
	server.Reload(t, map[string]string{bus.UserAdmin: "another"})
	if <-states {
		t.Error("the old password still works")
	}
	write("another")
	if !<-states {
		t.Error("lost twice")
	}
	if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Error(err)
	}
}

// await polls until a condition holds.
func await(t *testing.T, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatal("waited in vain")
		case <-tick.C:
		}
	}
}
