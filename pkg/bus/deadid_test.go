package bus_test

import (
	"errors"
	"testing"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
)

// TestDeadLetterOfADelivery: programs of two versions must name the same thing alike, or it is in
// DEAD twice after an upgrade.
func TestDeadLetterOfADelivery(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	if err := b.PublishJob(t.Context(), job()); err != nil {
		t.Fatal(err)
	}
	sub, err := b.Subscribe(t.Context(), bus.ConsumerFetcherLive, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Stop()
	d, err := sub.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for want, got := range map[string]string{"JOBS/1": d.DeadID(), "JOBS/1/7": d.DeadID(7), "JOBS/1/7/2": d.DeadID(7, 2)} {
		if got != want {
			t.Errorf("id %q, want %q", got, want)
		}
	}
	letter := d.NewDeadLetter("main", "fetcher", errors.New("broken"), []byte("x"))
	if letter.GetSource() != "JOBS/1" || letter.GetAttempts() != 1 || letter.GetDiedAt() == nil || letter.GetTenant() != "main" ||
		letter.GetStage() != "fetcher" || letter.GetReason() != "broken" || string(letter.GetPayload()) != "x" {
		t.Errorf("%v", letter)
	}
}
