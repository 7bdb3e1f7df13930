package bus_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
)

// oneAccount is how the server was configured when all users shared an account.
const oneAccount = "attack/testdata/one-account"

// TestUsersGetAccountsOfTheirOwn: one restart of the server takes a deployment to them. Streams and
// consumers are as they were, and stages that run meanwhile lose nothing.
func TestUsersGetAccountsOfTheirOwn(t *testing.T) {
	t.Parallel()
	server := bustest.StartGuarded(t, oneAccount)
	if err := as(t, server, bus.UserAdmin, "tapctl").Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	enricher, shipper := as(t, server, "enricher", "enricher"), as(t, server, "shipper", "shipper")
	rows := func(id string) uint64 {
		t.Helper()
		seq, err := enricher.PublishEvents(t.Context(), []byte(id), bus.EventMeta{Tenant: "main", Table: "mail.proofpoint.tap_people.vap", MsgID: id})
		if err != nil {
			t.Fatal(err)
		}
		return seq
	}
	sub, err := shipper.Subscribe(t.Context(), bus.ConsumerShipper, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Stop()
	rows("first")
	rows("second")
	first, err := sub.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := sub.Next(t.Context())
	if err != nil || first.Ack() != nil {
		t.Fatal(err)
	}
	await(t, func() bool {
		backlog, err := shipper.Backlog(t.Context(), bus.ConsumerShipper)
		return err == nil && backlog.Done == 1
	})
	server.Restart(t, deployed)
	await(t, func() bool { // the ack of a message from before
		_ = second.Ack()
		backlog, err := shipper.Backlog(t.Context(), bus.ConsumerShipper)
		return err == nil && backlog.Done == 2
	})
	await(t, func() bool { // the same name is still known
		seq, err := enricher.PublishEvents(t.Context(), nil, bus.EventMeta{Tenant: "main", Table: "mail.proofpoint.tap_people.vap", MsgID: "second"})
		return err == nil && seq == 2
	})
	if seq := rows("third"); seq != 3 {
		t.Errorf("the next row is %d", seq)
	}
	third, err := sub.Next(t.Context()) // by the pull of before
	if err != nil || string(third.Data()) != "third" {
		t.Errorf("%v", err)
	}
	server.Reload(t, map[string]string{"fetcher": "another"})
	rows("fourth") // the others notice nothing
	if fourth, err := sub.Next(t.Context()); err != nil || string(fourth.Data()) != "fourth" || fourth.Ack() != nil {
		t.Errorf("after another user's password was changed: %v", err)
	}
}

// TestAcksOfServersToCome: servers will name domain and account in the subject of an ack.
func TestAcksOfServersToCome(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for name, more := range map[string]string{"nats.conf": "\nfeature_flags { js_ack_fc_v2: true }\n", "users.conf": ""} {
		data, err := os.ReadFile(filepath.Join(deployed, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), append(data, more...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := bustest.StartGuarded(t, folder)
	if err := as(t, server, bus.UserAdmin, "tapctl").Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	enricher, shipper := as(t, server, "enricher", "enricher"), as(t, server, "shipper", "shipper")
	if _, err := enricher.PublishEvents(t.Context(), []byte("x"), bus.EventMeta{Tenant: "main", Table: "mail.proofpoint.tap_people.vap", MsgID: "x"}); err != nil {
		t.Fatal(err)
	}
	sub, err := shipper.Subscribe(t.Context(), bus.ConsumerShipper, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Stop()
	d, err := sub.Next(t.Context())
	if err != nil || d.Ack() != nil {
		t.Fatal(err)
	}
	await(t, func() bool {
		backlog, err := shipper.Backlog(t.Context(), bus.ConsumerShipper)
		return err == nil && backlog.Done == 1
	})
}
