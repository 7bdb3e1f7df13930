package alarm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/printable"
	"github.com/tapline/tapline/pkg/wire"
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
	Ledger      Name = "ledger"               // the ledger check failed
	Sink        Name = "sink"                 // the sink does not take rows
	StreamFull  Name = "stream-full"          // planning is held back for want of room
	Backlog     Name = "backlog"              // what waits in a stream is on its way to be too old for it
	Canary      Name = "canary"               // rows that the sink confirmed are not found at Devo
	Certificate Name = "certificate"          // the certificate for the sink ends soon, or cannot be replaced
	Proofpoint  Name = "proofpoint"           // calls to Proofpoint fail
	Answer      Name = "answer"               // Proofpoint answers in a way that proves nothing
	Dead        Name = "dead"                 // something went to DEAD in the last day
	Disk        Name = "disk"                 // the disk has no room for what the streams may take
	MemoryLost  Name = "memory-lost"          // QUOTA, SEEN, a consumer's place or a stream were lost
	StageSilent Name = "stage-silent"         // a program that should run gives no sign of life
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

// Board raises the alarms of one stage. An alarm may have several causes, such as the paths that
// Proofpoint forbids: it holds while one of them does. It is safe for concurrent use.
type Board struct {
	store  store
	tenant string
	stage  string
	log    *slog.Logger
	gauge  *prometheus.GaugeVec

	mu     sync.Mutex
	raised map[Name]*standing
	latest map[Name]*taplinev1.Alarm // what is to stand in STATE

	writing sync.Mutex // held while something is written, so that nothing older comes after it
}

// standing is an alarm that holds.
type standing struct {
	alarm  *taplinev1.Alarm // as last written
	causes map[string]cause
}

// cause is one thing that keeps an alarm raised.
type cause struct {
	detail string
	until  time.Time
}

// New opens the board of a stage.
func New(s store, tenant, stage string, log *slog.Logger, gauge *prometheus.GaugeVec) *Board {
	return &Board{store: s, tenant: tenant, stage: stage, log: log, gauge: gauge, raised: make(map[Name]*standing), latest: make(map[Name]*taplinev1.Alarm)}
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

// Key is where the alarm of a stage is kept.
func Key(tenant string, name Name, stage string) string {
	return "alarm." + tenant + "." + string(name) + "." + stage
}

// Raise begins an alarm, or renews it.
func (b *Board) Raise(ctx context.Context, name Name, detail string) {
	b.HoldCause(ctx, name, "", detail, lasts)
}

// Hold raises an alarm about something that cannot be mended, for a time.
func (b *Board) Hold(ctx context.Context, name Name, detail string, d time.Duration) {
	b.HoldCause(ctx, name, "", detail, d)
}

// Set raises the alarm while on, and else ends it.
func (b *Board) Set(ctx context.Context, name Name, on bool, detail string) {
	if on {
		b.Raise(ctx, name, detail)
		return
	}
	b.Clear(ctx, name)
}

// HoldCause raises an alarm for one of its causes, for a time. Other causes of it stand beside.
func (b *Board) HoldCause(ctx context.Context, name Name, which, detail string, d time.Duration) {
	detail = printable.Line(short(detail)) // bytes that are no text cannot be encoded
	now := time.Now()
	b.mu.Lock()
	st := b.raised[name]
	begins := st == nil
	if begins {
		st = &standing{alarm: &taplinev1.Alarm{Name: string(name), Stage: b.stage, Since: timestamppb.New(now)}, causes: make(map[string]cause)}
		b.raised[name] = st
	}
	have, known := st.causes[which]
	due := !known || now.Add(d-renew).After(have.until)
	if due && (known || len(st.causes) < maxCauses) {
		st.causes[which] = cause{detail, now.Add(d)}
		time.AfterFunc(d, func() { b.lapse(name) })
	}
	a := st.sum()
	b.mu.Unlock()
	if begins {
		b.gauge.WithLabelValues(string(name)).Set(1)
		b.log.Error("alarm", slog.String("alarm", string(name)), slog.String("detail", detail))
	}
	if due {
		b.write(ctx, a, a.GetUntil().AsTime())
	}
}

// maxCauses bounds what one alarm remembers of its causes, maxDetail each of them and the alarm,
// bytes: both often come from the peer.
const (
	maxCauses = 100
	maxDetail = 1 << 10
)

func short(detail string) string {
	if len(detail) > maxDetail {
		detail = detail[:maxDetail] + "..."
	}
	return detail
}

// sum is the alarm as its causes have it.
func (s *standing) sum() *taplinev1.Alarm {
	const told = 3
	var until time.Time
	var details []string
	for _, which := range slices.Sorted(maps.Keys(s.causes)) {
		c := s.causes[which]
		if c.until.After(until) {
			until = c.until
		}
		if !slices.Contains(details, c.detail) {
			details = append(details, c.detail)
		}
	}
	if more := len(details) - told; more > 0 {
		details = append(details[:told], fmt.Sprintf("and %d more", more))
	}
	s.alarm.Detail, s.alarm.Until = strings.Join(details, "; "), timestamppb.New(until)
	return proto.CloneOf(s.alarm)
}

// Clear ends an alarm that this board raised without naming a cause.
func (b *Board) Clear(ctx context.Context, name Name) { b.ClearCause(ctx, name, "") }

// ClearCause takes one cause away: it succeeded. The alarm ends with its last cause.
func (b *Board) ClearCause(ctx context.Context, name Name, which string) {
	b.mu.Lock()
	st := b.raised[name]
	if st == nil {
		b.mu.Unlock()
		return
	}
	if _, known := st.causes[which]; !known {
		b.mu.Unlock()
		return
	}
	until := st.alarm.GetUntil().AsTime()
	delete(st.causes, which)
	over := len(st.causes) == 0
	a := proto.CloneOf(st.alarm)
	if over {
		delete(b.raised, name)
		a.Until = timestamppb.Now()
	} else {
		a = st.sum()
	}
	b.mu.Unlock()
	if over {
		b.ended(a)
	}
	b.write(ctx, a, until)
}

// lapse takes away causes that were not renewed in time, in metric and log as in STATE.
func (b *Board) lapse(name Name) {
	now := time.Now()
	b.mu.Lock()
	st := b.raised[name]
	over := false
	if st != nil {
		maps.DeleteFunc(st.causes, func(_ string, c cause) bool { return !c.until.After(now) })
		if over = len(st.causes) == 0; over {
			delete(b.raised, name)
		}
	}
	b.mu.Unlock()
	if over {
		b.ended(st.alarm)
	}
}

// ended reports that an alarm is cleared.
func (b *Board) ended(a *taplinev1.Alarm) {
	b.gauge.WithLabelValues(a.GetName()).Set(0)
	b.log.Info("alarm cleared", slog.String("alarm", a.GetName()), slog.Duration("after", time.Since(a.GetSince().AsTime()).Round(time.Second)))
}

// write may fail: metric and log have said it. It is repeated as long as that matters, since an
// alarm that is held may be logged only once.
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
		err = b.store.Put(ctx, Key(b.tenant, name, b.stage), data)
	}
	if err != nil && time.Until(until) > again {
		time.AfterFunc(again, func() { _ = b.put(ctx, a, until) }) // it is logged already
	}
	return err
}

// unreadable stands for an alarm that was written by something else than a board.
func unreadable(key string, err error, now time.Time) *taplinev1.Alarm {
	parts := strings.Split(key, ".")
	return &taplinev1.Alarm{
		Name: parts[max(0, len(parts)-2)], Stage: parts[len(parts)-1], Detail: "is not readable: " + err.Error(),
		Since: timestamppb.New(now), Until: timestamppb.New(now.Add(time.Minute)),
	}
}

// selector is the bucket STATE for [Read].
type selector interface {
	Select(ctx context.Context, filters ...string) ([]bus.Pair, error)
}

// Read lists the alarms of a tenant that hold, by name. Two stages may raise one name.
func Read(ctx context.Context, s selector, tenant string, now time.Time) ([]*taplinev1.Alarm, error) {
	pairs, err := s.Select(ctx, "alarm."+tenant+".>")
	if err != nil {
		return nil, fmt.Errorf("alarms: %w", err)
	}
	var alarms []*taplinev1.Alarm
	for _, pair := range pairs {
		a := &taplinev1.Alarm{}
		if err := wire.Unmarshal(pair.Value, a); err != nil { // the others are shown all the same
			a = unreadable(pair.Key, err, now)
		}
		if a.GetUntil().AsTime().After(now) {
			alarms = append(alarms, a)
		}
	}
	slices.SortFunc(alarms, func(x, y *taplinev1.Alarm) int {
		return cmp.Or(strings.Compare(x.GetName(), y.GetName()), strings.Compare(x.GetStage(), y.GetStage()))
	})
	return alarms, nil
}
