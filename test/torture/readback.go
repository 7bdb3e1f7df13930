package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/identity"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/devosink"
)

const (
	queryToken = "q"
	// queryDelay is how long the sink takes until a query finds a row, and settle how long tapctl
	// is told that it takes, both by the real clock.
	queryDelay = 300 * time.Millisecond
	settle     = time.Second
	// repairTime bounds one call of tapctl.
	repairTime = 2 * time.Minute
	// keptBytes bounds what the sink remembers for queries.
	keptBytes = 4 << 30
	// readBackClock is the name of the clock of tapctl.
	readBackClock = "tapctl-readback"
)

// ReadBack is what came of comparing a sink that lies with what it confirmed.
type ReadBack struct {
	Rounds   int
	Missing  int // rows that tapctl named, each once
	Repairs  int // commands that it printed, and that were run
	Repaired int // rows that these sent
	Doubled  int // rows that the sink has beyond those that were confirmed, in the last round
}

// openSink makes the sink. One that may lie remembers everything, for queries.
func (w *world) openSink(ctx context.Context) (err error) {
	c := devosink.Config{TLS: w.trust.server(), Mode: devosink.Count, OnEvent: w.rows.arrive}
	if w.profile.Lies {
		c.Mode, c.MaxBytes = devosink.Full, keptBytes
	}
	if w.sink, err = devosink.New(c); err != nil || !w.profile.Lies {
		return err
	}
	addr, err := w.serve(ctx, w.sink.Query(devosink.QueryConfig{Token: queryToken, Delay: queryDelay}))
	if err != nil {
		return err
	}
	w.query = "http://" + addr
	return nil
}

// comparison is what tapctl verify --devo prints.
type comparison struct {
	Tables   []struct{ Missing, Doubled int }
	Pending  int
	Compared int
	Missing  []struct {
		Table string
		ID    string `json:"tapline_id"`
	}
	Repair []string
}

// sums adds up the tables.
func (c *comparison) sums() (missing, doubled int) {
	for _, t := range c.Tables {
		missing, doubled = missing+t.Missing, doubled+t.Doubled
	}
	return missing, doubled
}

// account is what is known from one round to the next.
type account struct {
	named   map[string]bool // rows that were called missing
	replays map[string]bool // ids of the repairs
	until   uint64          // the last place in EVENTS when this began
}

var (
	errBehind  = errors.New("rows are on their way that were stored before this began")
	errMissing = errors.New("rows are missing")
	errBlind   = errors.New("rows are missing that the comparison does not name")
)

// readBack lets tapctl compare the sink with what it confirmed and runs what it prints as repair,
// until nothing is missing. Rows still arrive meanwhile. Rows that are confirmed by a clock that is
// wrong are compared when that time has come; so a row that is missing and not named is a problem
// only when patience has ended.
func (w *world) readBack(ctx context.Context, r *Result) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	a := &account{named: make(map[string]bool), replays: make(map[string]bool)}
	err := w.compare(ctx, r, a)
	for err != nil && sleep(ctx, time.Second) {
		w.log("read back: %v", err)
		err = w.compare(ctx, r, a)
	}
	if err != nil {
		r.problem("read back: %v", err)
	}
	if dropped := w.sink.Snapshot().Dropped; dropped > 0 {
		r.problem("the sink has forgotten %d rows", dropped)
	}
	w.rows.mu.Lock()
	defer w.rows.mu.Unlock()
	for id := range a.replays {
		r.ReadBack.Repaired += w.rows.replays[id]
	}
	r.ReadBack.Missing = len(a.named)
}

// compare makes one round. The error says why it cannot be the last one.
func (w *world) compare(ctx context.Context, r *Result, a *account) error {
	absent, err := w.absent(ctx, a)
	if err != nil {
		return err
	}
	began := time.Now()
	var c comparison
	status, err := w.ask(ctx, &c, "verify", "--devo", "--from", w.clock.real.Add(-time.Minute).UTC().Format(time.RFC3339))
	if err != nil {
		return err
	}
	r.ReadBack.Rounds++
	missing, doubled := c.sums()
	r.ReadBack.Doubled = doubled
	if (status == 0) != (missing == 0 && c.Compared > 0) || (missing == 0) != (len(c.Missing) == 0) || (missing == 0) != (len(c.Repair) == 0) {
		r.problem("read back: status %d, %d rows missing, %d named, %d repairs", status, missing, len(c.Missing), len(c.Repair))
	}
	var there []string
	for i := range c.Missing {
		name := nameOf(c.Missing[i].Table, c.Missing[i].ID)
		a.named[name] = true
		if at := w.rows.came(name); !at.IsZero() && at.Before(began.Add(-queryDelay)) {
			there = append(there, name)
		}
		delete(absent, name)
	}
	if len(there) > 0 {
		r.problem("read back: %d rows are called missing and are there, such as %s", len(there), there[0])
	}
	maps.DeleteFunc(absent, func(name string, _ bool) bool { return !w.rows.came(name).IsZero() })
	if missing > len(c.Missing) { // the list has an end
		clear(absent)
	}
	if missing == 0 && len(absent) == 0 {
		return nil
	}
	if err := w.repair(ctx, r, a, c.Repair); err != nil {
		return err
	}
	if missing > 0 {
		return fmt.Errorf("%w: %d, on their way %d", errMissing, missing, c.Pending)
	}
	if c.Pending == 0 { // no clock explains that
		r.problem("read back: %d rows are missing that it does not name", len(absent))
	}
	return fmt.Errorf("%w: %d, on their way %d, such as %s", errBlind, len(absent), c.Pending, slices.Sorted(maps.Keys(absent))[0])
}

// repair runs the commands that send again what is missing.
func (w *world) repair(ctx context.Context, r *Result, a *account, commands []string) error {
	for _, command := range commands {
		words := strings.Fields(command)
		if len(words) < 3 || words[0] != "tapctl" {
			r.problem("read back: no command: %q", command)
			continue
		}
		var replay struct{ ID string }
		if _, err := w.ask(ctx, &replay, words[1:]...); err != nil {
			return err
		}
		r.ReadBack.Repairs++
		a.replays[replay.ID] = true
	}
	return nil
}

// ask runs tapctl by the clock of the stages and decodes what it prints. Its status may be 0, or 3:
// something was found.
func (w *world) ask(ctx context.Context, v any, args ...string) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, repairTime)
	defer cancel()
	cmd := w.tapctl(ctx, append(args, "--output", "json")...)
	cmd.Env = append(cmd.Env, "TAPLINE_CLOCK="+w.clock.file(readBackClock), "DEVO_QUERY_URL="+w.query, "DEVO_QUERY_INSECURE=true",
		"DEVO_QUERY_TOKEN="+queryToken, "DEVO_QUERY_SETTLE="+time.Duration(w.profile.Factor*float64(settle)).String())
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 3 {
		status, err = 3, nil
	}
	if err == nil {
		err = json.Unmarshal(out, v)
	}
	if err != nil {
		return status, fmt.Errorf("tapctl %s: %w: %.300s", args[0], err, problems.String())
	}
	return status, nil
}

// absent are the rows that the shippers have acknowledged and the sink does not have. All that was
// stored when it is called first must be acknowledged.
func (w *world) absent(ctx context.Context, a *account) (map[string]bool, error) {
	b, err := w.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	backlog, err := b.Backlog(ctx, bus.ConsumerShipper)
	if err != nil {
		return nil, err
	}
	if a.until == 0 {
		usage, err := b.Usage(ctx, bus.StreamEvents)
		if err != nil {
			return nil, err
		}
		a.until = usage.Last
	}
	if backlog.Done < a.until {
		return nil, fmt.Errorf("%w: %d of %d", errBehind, backlog.Done, a.until)
	}
	names := make(map[string]bool)
	var rows batch.Events
	err = b.Scan(ctx, bus.Events("main"), func(m bus.Stored) (bool, error) {
		if m.Sequence > backlog.Done {
			return false, nil
		}
		if err := batch.DecodeEvents(m.Data, &rows); err != nil {
			return false, err
		}
		for i := range rows.Events {
			id, ok := identity.FindTaplineID(rows.Events[i].JSON)
			if name := nameOf(rows.Table, string(id)); ok && w.rows.came(name).IsZero() {
				names[name] = true
			}
		}
		return true, nil
	})
	if err != nil || len(names) == 0 {
		return names, err
	}
	return names, withoutDead(ctx, b, names)
}

// withoutDead takes out the rows that the shippers have sent to DEAD.
func withoutDead(ctx context.Context, b *bus.Bus, names map[string]bool) error {
	return b.Scan(ctx, bus.Dead("main", "shipper"), func(m bus.Stored) (bool, error) {
		letter := &taplinev1.DeadLetter{}
		if err := proto.Unmarshal(m.Data, letter); err != nil {
			return false, err
		}
		if id, ok := identity.FindTaplineID(letter.GetPayload()); ok {
			delete(names, nameOf(letter.GetTable(), string(id)))
		}
		return true, nil
	})
}

// came is when a row came first; zero if it is not there.
func (r *rows) came(name string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stored[name]
}
