package attack_test

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/attack"
	"github.com/tapline/tapline/pkg/bus/bustest"
)

const deployed = "../../../deploy/nats"

// besieged is a guarded system that has something to lose.
func besieged(t *testing.T, server *bustest.Guarded, replicas int) attack.System {
	t.Helper()
	b, err := bus.Connect(t.Context(), server.As(bus.UserAdmin), "tapctl", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	limits := bustest.Limits
	limits.Replicas, limits.AckWait = replicas, 10*time.Minute // longer than the attack
	if err := b.Setup(t.Context(), limits, nil); err != nil {
		t.Fatal(err)
	}
	if err := attack.Prepare(t.Context(), server.As); err != nil {
		t.Fatal(err)
	}
	return server.As
}

// TestUsersCannotLeaveTheirAccounts: whatever a user tries, it changes and reads what stands in the
// table of its rights.
func TestUsersCannotLeaveTheirAccounts(t *testing.T) {
	t.Parallel()
	for _, u := range bus.Users()[1:] {
		t.Run(u.Name, func(t *testing.T) {
			t.Parallel()
			breaches, err := attack.Run(t.Context(), besieged(t, bustest.StartGuarded(t, deployed), 1), u)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range breaches {
				t.Error(b)
			}
		})
	}
}

// TestNorInACluster: also when the attacker, the stream and the consumer are at three different
// servers.
func TestNorInACluster(t *testing.T) {
	t.Parallel()
	system := besieged(t, bustest.StartGuardedCluster(t, deployed), 3)
	for _, u := range bus.Users()[1:] {
		breaches, err := attack.Run(t.Context(), system, u)
		if err != nil {
			t.Fatalf("%s: %v", u.Name, err)
		}
		for _, b := range breaches {
			t.Errorf("%s: %s", u.Name, b)
		}
	}
}

// TestAttackHasTeeth: users that share one account, as they did before, cannot keep each other out,
// and the attack shows it.
func TestAttackHasTeeth(t *testing.T) {
	t.Parallel()
	u := bus.Users()[slices.IndexFunc(bus.Users(), func(u bus.User) bool { return u.Name == "shipper" })]
	breaches, err := attack.Run(t.Context(), besieged(t, bustest.StartGuarded(t, "testdata/one-account"), 1), u)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(breaches, "\n")
	for _, want := range []string{"stored KV_QUOTA/", "consumer RAW.enricher", "RAW.thief was ", "stored JOBS/", "removed EVENTS/", "DEAD was ", "read a message of RAW"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q among the breaches:\n%s", want, all)
		}
	}
}

// TestSendKnowsWhatIsStored: an answer that refuses a message is no success.
func TestSendKnowsWhatIsStored(t *testing.T) {
	t.Parallel()
	system := besieged(t, bustest.StartGuarded(t, deployed), 1)
	message := attack.Message{Subject: "job.main.live.x.y", Data: make([]byte, 1000)}
	if err := attack.Send(t.Context(), system, []attack.Message{message}); err != nil {
		t.Error(err)
	}
	message.Subject, message.Data = "dead.main.s.f", make([]byte, 6<<20)
	if err := attack.Send(t.Context(), system, []attack.Message{message}); err == nil || !strings.Contains(err.Error(), "6291456 bytes on dead.main.s.f") {
		t.Errorf("a dead letter of 6 MiB: %v", err)
	}
}
