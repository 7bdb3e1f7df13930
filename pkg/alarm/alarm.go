package alarm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/bus"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Name of an alarm.
type Name string

// The alarms.
const (
	Freshness   Name = "freshness"            // rows arrive later than they should
	Quota       Name = "quota"                // others use up the credential's calls
	Edge        Name = "edge"                 // something unread is about to be no longer served
	Lost        Name = "lost"                 // something unread is no longer served
	Refused     Name = "credential-refused"   // Proofpoint does not know the credential (401)
	Forbidden   Name = "credential-forbidden" // the credential may not read this (403)
	ClockSkew   Name = "clock-skew"           // a clock is off
	Ledger      Name = "ledger"               // the account does not add up
	Sink        Name = "sink"                 // the sink does not take rows
	StreamFull  Name = "stream-full"          // planning is held back for want of room
	Backlog     Name = "backlog"              // what waits in a stream is on its way to be too old for it
	Canary      Name = "canary"               // rows that the sink confirmed are not found at Devo
	Certificate Name = "certificate"          // the certificate for the sink ends soon, or cannot be replaced
)

const (
	lasts = 3 * time.Minute
	renew = time.Minute
	// again is when a writing that failed is repeated.
	again        = 10 * time.Second
	writeTimeout = 5 * time.Second
)

// store is the bucket STATE.
type store interface {
	Put(ctx context.Context, key string, value []byte) error
}

// Board raises the alarms of one stage. It is safe for concurrent use.
type Board struct {
	store  store
	tenant string
	stage  string
	log    *slog.Logger
	gauge  *prometheus.GaugeVec

	mu     sync.Mutex
	raised map[Name]*taplinev1.Alarm
	latest map[Name]*taplinev1.Alarm // what is to stand in STATE

	writing sync.Mutex // held while something is written, so that nothing older comes after it
}

// New opens the board of a stage.
func New(s store, tenant, stage string, log *slog.Logger, gauge *prometheus.GaugeVec) *Board {
	return &Board{store: s, tenant: tenant, stage: stage, log: log, gauge: gauge, raised: make(map[Name]*taplinev1.Alarm), latest: make(map[Name]*taplinev1.Alarm)}
}

// Gauge makes the metric, or finds it when another stage of the process has made it.
func Gauge(r prometheus.Registerer) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "tapline_alarm", Help: "1 while an alarm is raised."}, []string{"alarm"})
	if known, ok := errors.AsType[prometheus.AlreadyRegisteredError](r.Register(g)); ok {
		if have, ok := known.ExistingCollector.(*prometheus.GaugeVec); ok {
			return have
		}
	}
	return g
}

// Key is where an alarm is kept.
func Key(tenant string, name Name) string { return "alarm." + tenant + "." + string(name) }

// Raise begins an alarm, or renews it.
func (b *Board) Raise(ctx context.Context, name Name, detail string) { b.set(ctx, name, detail, lasts) }

// Hold raises an alarm about something that cannot be mended, for a time.
func (b *Board) Hold(ctx context.Context, name Name, detail string, d time.Duration) {
	b.set(ctx, name, detail, d)
}

// Set raises the alarm while on, and else ends it.
func (b *Board) Set(ctx context.Context, name Name, on bool, detail string) {
	if on {
		b.Raise(ctx, name, detail)
		return
	}
	b.Clear(ctx, name)
}

func (b *Board) set(ctx context.Context, name Name, detail string, d time.Duration) {
	now := time.Now()
	b.mu.Lock()
	a := b.raised[name]
	begins := a == nil
	if begins {
		a = &taplinev1.Alarm{Name: string(name), Stage: b.stage, Since: timestamppb.New(now)}
		b.raised[name] = a
	}
	due := begins || now.Add(d-renew).After(a.GetUntil().AsTime())
	if due {
		a.Detail, a.Until = detail, timestamppb.New(now.Add(d))
		time.AfterFunc(d, func() { b.lapse(name) })
	}
	a = proto.CloneOf(a)
	b.mu.Unlock()
	if begins {
		b.gauge.WithLabelValues(string(name)).Set(1)
		b.log.Error("alarm", slog.String("alarm", string(name)), slog.String("detail", detail))
	}
	if due {
		b.write(ctx, a, a.GetUntil().AsTime())
	}
}

// Clear ends an alarm that this board raised.
func (b *Board) Clear(ctx context.Context, name Name) {
	b.mu.Lock()
	a := b.raised[name]
	delete(b.raised, name)
	b.mu.Unlock()
	if a == nil {
		return
	}
	b.ended(a)
	until := a.GetUntil().AsTime()
	a.Until = timestamppb.Now()
	b.write(ctx, a, until)
}

// lapse ends an alarm that was not renewed in time, in metric and log as in STATE.
func (b *Board) lapse(name Name) {
	b.mu.Lock()
	a := b.raised[name]
	over := a != nil && !a.GetUntil().AsTime().After(time.Now())
	if over {
		delete(b.raised, name)
	}
	b.mu.Unlock()
	if over {
		b.ended(a)
	}
}

// ended tells that an alarm is over.
func (b *Board) ended(a *taplinev1.Alarm) {
	b.gauge.WithLabelValues(a.GetName()).Set(0)
	b.log.Info("alarm is over", slog.String("alarm", a.GetName()), slog.Duration("after", time.Since(a.GetSince().AsTime()).Round(time.Second)))
}

// write may fail: metric and log have said it. It is repeated as long as that matters, since an alarm that is held may
// be told only once.
func (b *Board) write(ctx context.Context, a *taplinev1.Alarm, until time.Time) {
	b.mu.Lock()
	b.latest[Name(a.GetName())] = a
	b.mu.Unlock()
	if err := b.put(context.WithoutCancel(ctx), a, until); err != nil {
		b.log.Debug("cannot write an alarm now", slog.String("alarm", a.GetName()), slog.Any("error", err))
	}
}

func (b *Board) put(ctx context.Context, a *taplinev1.Alarm, until time.Time) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	name := Name(a.GetName())
	b.mu.Lock()
	newest := b.latest[name] == a
	b.mu.Unlock()
	if !newest {
		return nil
	}
	data, err := proto.Marshal(a)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, writeTimeout)
		defer cancel()
		err = b.store.Put(ctx, Key(b.tenant, name), data)
	}
	if err != nil && time.Until(until) > again {
		time.AfterFunc(again, func() { _ = b.put(ctx, a, until) }) // it is told already
	}
	return err
}

// selector is the bucket STATE for [Read].
type selector interface {
	Select(ctx context.Context, filters ...string) ([]bus.Pair, error)
}

// Read lists the alarms of a tenant that hold, by name.
func Read(ctx context.Context, s selector, tenant string, now time.Time) ([]*taplinev1.Alarm, error) {
	pairs, err := s.Select(ctx, "alarm."+tenant+".*")
	if err != nil {
		return nil, fmt.Errorf("alarms: %w", err)
	}
	var alarms []*taplinev1.Alarm
	for _, pair := range pairs {
		a := &taplinev1.Alarm{}
		if err := proto.Unmarshal(pair.Value, a); err != nil {
			return nil, fmt.Errorf("alarms: %s: %w", pair.Key, err)
		}
		if a.GetUntil().AsTime().After(now) {
			alarms = append(alarms, a)
		}
	}
	slices.SortFunc(alarms, func(x, y *taplinev1.Alarm) int { return strings.Compare(x.GetName(), y.GetName()) })
	return alarms, nil
}
