package enricher_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/services/enricher"
)

const laterJob = "main/clicksBlocked/20260311T080000Z/20260311T090000Z/live/0"

// employ runs an enricher until the returned function is called.
func employ(t *testing.T, b *bus.Bus) (stop func()) {
	t.Helper()
	var c enricher.Config
	if err := config.Load(&c, []string{"TAP_FEEDS=clicksBlocked"}); err != nil {
		t.Fatal(err)
	}
	e := enricher.New(c, enricher.Deps{Bus: b, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	ctx, end := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	return func() {
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestARepetitionOfTheNextDay: an enricher ends between storing rows and recording them, or between
// recording and acknowledging, or cannot record for hours, and the message is redelivered when the
// bus has long forgotten the rows.
func TestARepetitionOfTheNextDay(t *testing.T) {
	t.Parallel()
	for name, trial := range map[string]struct {
		call   bustest.Call
		absent bool // no enricher runs meanwhile
		gone   bool // EVENTS has no more of it: only the ledger knows
	}{
		"ended before the note":                    {bustest.Write(bus.BucketLedger), true, false},
		"could not note for hours":                 {bustest.Write(bus.BucketLedger), false, false},
		"ended before the acknowledgement":         {bustest.Acks(bus.ConsumerEnricher), true, false},
		"ended before that, and the rows are gone": {bustest.Acks(bus.ConsumerEnricher), true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if testing.Short() && name != "ended before the note" && !trial.gone {
				t.Skip("three hours of a bubble: two trials are enough for the short tier")
			}
			bustest.Bubble(t, func(t *testing.T, _ *bus.Bus) {
				t.Helper()
				b, faults := bustest.StartFaulty(t)
				aside := bustest.Connect(t, faults.Server)
				data := batch.AppendRawHeader(nil, &batch.Raw{
					Tenant: "main", Feed: "clicksBlocked", JobID: laterJob, PullID: "1773216000123", FetchedAt: time.UnixMilli(1773216000123),
				})
				publish(t, aside, laterJob, batch.AppendRecord(data, &batch.Record{ID: 1, Hash: 7, TimeMS: 1, JSON: []byte(`{"id":"x"}`)}))
				fault := faults.Fail(trial.call, bustest.Fault{Times: -1})
				stop := employ(t, b)
				<-time.After(10 * time.Second) // the time of a bubble
				for i := range 200 {           // what others bring meanwhile
					meta := bus.EventMeta{Tenant: "main", Table: "mail.proofpoint.tapsiem_v2.clicksblocked", MsgID: fmt.Sprint(i)}
					if _, err := aside.PublishEvents(t.Context(), []byte("rows"), meta); err != nil {
						t.Fatal(err)
					}
				}
				if trial.absent {
					stop()
				}
				if trial.gone {
					if err := aside.Delete(t.Context(), bus.StreamEvents, 1); err != nil {
						t.Fatal(err)
					}
				}
				<-time.After(3 * time.Hour)
				fault.End()
				if trial.absent {
					stop = employ(t, b)
				}
				<-time.After(10 * time.Minute)
				stop()
				if left, err := aside.Backlog(t.Context(), bus.ConsumerEnricher); err != nil || left.InWork+int(left.Waiting) > 0 {
					t.Errorf("%+v is left, %v", left, err)
				}
				if have, err := aside.Usage(t.Context(), bus.StreamEvents); err != nil || have.Last != 201 {
					t.Errorf("EVENTS has %d messages, want 201: %v", have.Last, err)
				}
				if _, err := aside.Message(t.Context(), bus.StreamEvents, 1); errors.Is(err, bus.ErrNotFound) != trial.gone {
					t.Error(err)
				}
			})
		})
	}
}

// TestAMessageOfYesterdayIsMadeIntoRows: what waited while no enricher ran is as good as new.
func TestAMessageOfYesterdayIsMadeIntoRows(t *testing.T) {
	t.Parallel()
	bustest.Bubble(t, func(t *testing.T, b *bus.Bus) {
		t.Helper()
		data := batch.AppendRawHeader(nil, &batch.Raw{Tenant: "main", Feed: "clicksBlocked", JobID: laterJob, PullID: "1773216000123", FetchedAt: time.UnixMilli(1773216000123)})
		publish(t, b, laterJob, batch.AppendRecord(data, &batch.Record{ID: 1, Hash: 7, TimeMS: 1, JSON: []byte(`{"id":"x"}`)}))
		<-time.After(3 * time.Hour)
		stop := employ(t, b)
		<-time.After(time.Minute)
		stop()
		if have, err := b.Usage(t.Context(), bus.StreamEvents); err != nil || have.Last != 1 {
			t.Errorf("EVENTS has %d messages, want 1: %v", have.Last, err)
		}
	})
}
