package embedded_test

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/bus/embedded"
)

// TestTheStoreOfAConfiguredServer: streams of a deployment are in an account that only its
// configuration names. Seal finds them all the same, encrypts them, and replaces their key.
func TestTheStoreOfAConfiguredServer(t *testing.T) {
	t.Parallel()
	g := bustest.StartGuarded(t, "../../../deploy/nats")
	admin := func(use func(b *bus.Bus)) {
		b, err := bus.Connect(t.Context(), g.As(bus.UserAdmin), "tapctl", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		use(b)
	}
	admin(func(b *bus.Bus) {
		if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			meta := bus.EventMeta{Tenant: "main", Table: "mail.proofpoint.clicks", MsgID: fmt.Sprint(i)}
			if _, err := b.PublishEvents(t.Context(), row(i), meta); err != nil {
				t.Fatal(err)
			}
		}
	})
	conf := func(k embedded.Keys) string { return fmt.Sprintf("cipher: aes\nkey: %q\n", k.Key.Reveal()) }
	for _, k := range []embedded.Keys{one, oneToTwo, two} {
		g.Reopen(t, conf(k), func(store string) {
			if readable(t, store) == 0 && k == one {
				t.Error("the secret is not found in clear either")
			}
			done, err := embedded.Seal(store, k, slog.New(slog.DiscardHandler))
			if err != nil || (k == one) != (done.Encrypted > 0) || (k == oneToTwo) != (done.Replaced > 0) {
				t.Fatalf("%+v: %v", done, err)
			}
			if n := readable(t, store); n > 0 {
				t.Errorf("%d files are in clear", n)
			}
		})
		admin(func(b *bus.Bus) {
			if u, err := b.Usage(t.Context(), bus.StreamEvents); err != nil || u.Messages != rows {
				t.Errorf("EVENTS: %+v, %v", u, err)
			}
			if left, err := b.Backlog(t.Context(), bus.ConsumerShipper); err != nil || left.Waiting != rows {
				t.Errorf("the shipper has %+v, %v", left, err)
			}
		})
	}
}
