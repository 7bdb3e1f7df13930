package bus_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/telemetry"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// writers write to each place that a stage writes to.
func writers(t *testing.T, b *bus.Bus) map[string]func(id string) error {
	t.Helper()
	ctx := t.Context()
	put := func(name string) func(string) error {
		bucket, err := b.Bucket(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		return func(id string) error { return bucket.Put(ctx, "main."+id, []byte("xx")) }
	}
	state, err := b.Bucket(ctx, bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]func(string) error{
		bus.StreamRaw: func(id string) error {
			_, err := b.StoreJob(ctx, bus.JobOutput{Tenant: "main", JobID: "main/all/20260311T080000Z/20260311T090000Z/live/" + id, Batches: batches(2), Marker: []byte("xx")})
			return err
		},
		bus.StreamEvents: func(id string) error {
			_, err := b.PublishEvents(ctx, []byte("xx"), bus.EventMeta{Tenant: "main", Table: "a.b", MsgID: id})
			return err
		},
		bus.StreamDead: func(id string) error {
			return b.PublishDead(ctx, &taplinev1.DeadLetter{Tenant: "main", Stage: "test", Feed: "x"}, id)
		},
		bus.BucketLedger: put(bus.BucketLedger),
		bus.BucketState: func(id string) error {
			_, err := state.Create(ctx, "main."+id, []byte("xx"))
			return err
		},
	}
}

// readiness asks the probe.
func readiness(t *testing.T, h *telemetry.Health) (status int, body string) {
	t.Helper()
	w := httptest.NewRecorder()
	telemetry.Handler(h, telemetry.NewRegistry()).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", http.NoBody))
	return w.Code, w.Body.String()
}

// TestReadyIsWritable: a place that takes nothing makes a process unready that is connected all the
// same, until that place takes something again; no other place does.
func TestReadyIsWritable(t *testing.T) {
	t.Parallel()
	for _, place := range []string{bus.StreamRaw, bus.StreamEvents, bus.StreamDead, bus.BucketLedger, bus.BucketState} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			server := bustest.Server(t)
			b := bustest.Connect(t, server)
			if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
				t.Fatal(err)
			}
			health := telemetry.NewHealth()
			b.OnWrites(health.Writes)
			expect := func(want int, when string) {
				t.Helper()
				if got, body := readiness(t, health); got != want || want != http.StatusOK && !strings.Contains(body, "write "+place) {
					t.Errorf("%s: status %d, want %d: %s", when, got, want, body)
				}
			}
			all := writers(t, b)
			stream := place
			if place == bus.BucketLedger || place == bus.BucketState {
				stream = "KV_" + place
			}
			bustest.Refuse(t, server, stream)
			if err := all[place]("1"); err == nil {
				t.Fatal("it is written")
			}
			expect(http.StatusServiceUnavailable, "nothing is taken")
			for other, write := range all {
				if err := write("2"); other != place && err != nil {
					t.Fatalf("%s: %v", other, err)
				}
			}
			expect(http.StatusServiceUnavailable, "others are written")
			if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
				t.Fatal(err)
			}
			expect(http.StatusServiceUnavailable, "nothing was written since")
			if err := all[place]("3"); err != nil {
				t.Fatal(err)
			}
			expect(http.StatusOK, "it is written")
		})
	}
}

// TestAnAnswerIsNoFailure: conflicts, repetitions, full streams and callers that end leave a
// process ready. An answer that does not come does not.
func TestAnAnswerIsNoFailure(t *testing.T) {
	t.Parallel()
	b, faults := bustest.StartFaulty(t)
	health := telemetry.NewHealth()
	b.OnWrites(health.Writes)
	all := writers(t, b)
	for _, place := range []string{bus.BucketState, bus.StreamRaw} {
		if err := errors.Join(all[place]("1"), nil); err != nil {
			t.Fatal(err)
		}
		if err := all[place]("1"); !errors.Is(err, bus.ErrConflict) && !errors.Is(err, bus.ErrAlreadyStored) {
			t.Errorf("%s: %v", place, err)
		}
	}
	room := bustest.Fill(t, faults.Server, bus.StreamEvents)
	if err := all[bus.StreamEvents]("1"); !errors.Is(err, bus.ErrFull) {
		t.Error(err)
	}
	room()
	over, end := context.WithCancel(t.Context())
	end()
	if _, err := b.PublishEvents(over, []byte("xx"), bus.EventMeta{Tenant: "main", Table: "a.b", MsgID: "2"}); err == nil {
		t.Error("a caller that has ended publishes")
	}
	if status, body := readiness(t, health); status != http.StatusOK {
		t.Errorf("status %d: %s", status, body)
	}
	faults.Fail(bustest.Store(bus.StreamEvents), bustest.Fault{Silent: true})
	if err := all[bus.StreamEvents]("3"); err == nil {
		t.Error("silence is taken for an answer")
	}
	if status, body := readiness(t, health); status != http.StatusServiceUnavailable {
		t.Errorf("status %d: %s", status, body)
	}
}
