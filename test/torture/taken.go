package torture

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/attack"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/tapsim"
)

// harm is what a stage that was taken over may do, because it is its work, and how it is mended.
// docs/security.md has it, too.
type harm struct {
	forges bool     // false rows, and more than one form of a record
	spends bool     // calls beyond the limits: it writes QUOTA
	skips  bool     // records that are not read; what is in RAW arrives nevertheless
	blinds bool     // lookups of threats and campaigns that never happen
	cure   []string // tapctl, after the new password
}

// harms is by stage. What is not in here is a problem.
func harms() map[string]harm {
	return map[string]harm{
		"scheduler": {spends: true, skips: true, blinds: true, cure: []string{"replay", "--reprocess"}},
		"fetcher":   {forges: true, spends: true, skips: true, blinds: true},
		"enricher":  {forges: true, blinds: true, cure: []string{"replay", "--reprocess"}},
		"shipper":   {cure: []string{"replay", "--all"}},
	}
}

// thief is what an attacker with the credentials of a stage did, and what was seen meanwhile.
type thief struct {
	stage  string
	deeds  attack.Deeds
	looks  int                      // that told how long messages wait
	delays map[string]time.Duration // the longest wait at consumers of other stages
}

// slow finds what kept messages of other stages waiting for longer than the bound. Where nothing
// was measured nothing is known, which is a problem, too.
func (t *thief) slow(bound time.Duration) (problems []string) {
	if t.looks == 0 {
		return []string{"no look told how long other stages kept messages waiting"}
	}
	for _, name := range slices.Sorted(maps.Keys(t.delays)) {
		if t.delays[name] > bound {
			problems = append(problems, fmt.Sprintf("%s kept a message waiting for %s, and the alarm comes after %s", name, t.delays[name].Round(time.Second), bound))
		}
	}
	return problems
}

// freshness is ALARM_FRESHNESS as stages have it without a setting: other stages keep nothing
// waiting for longer.
const freshness = 10 * time.Minute

func (w *world) system(user string) bus.Config {
	password, err := os.ReadFile(w.users.file(user))
	if err != nil {
		w.wrong("read a password: %v", err)
	}
	return bus.Config{URL: "nats://127.0.0.1:" + strconv.Itoa(w.natsPort), User: user, Password: config.Secret(strings.TrimSpace(string(password)))}
}

// takeOver lets an attacker in for a while. Then the stage gets a new password, as an operator
// would see to.
func (w *world) takeOver(ctx context.Context, a Action) error {
	users := bus.Users()
	i := slices.IndexFunc(users, func(u bus.User) bool { return u.Name == a.Target })
	if i < 0 {
		return errVerb
	}
	user, stolen := users[i], w.system(a.Target)
	before, err := attack.Fixed(ctx, w.system, user)
	if err != nil {
		return err
	}
	t := &thief{stage: a.Target, delays: make(map[string]time.Duration)}
	w.mu.Lock()
	w.thief = t
	w.mu.Unlock()
	during, end := context.WithTimeout(ctx, a.For)
	defer end()
	var wg sync.WaitGroup
	wg.Go(func() { w.watchOthers(during, user, t) })
	random := rand.New(rand.NewPCG(w.seed, 2)) //nolint:gosec // it has to be the same each time
	t.deeds, err = attack.Rampage(during, w.system, user, random)
	wg.Wait()
	if err != nil {
		return err
	}
	for _, b := range t.deeds.Breaches {
		w.wrong("%s, taken over: %s", a.Target, b)
	}
	if err := w.newPassword(a.Target); err != nil {
		return err
	}
	if err := w.expelled(ctx, stolen); err != nil {
		return err
	}
	after, err := attack.Fixed(ctx, w.system, user)
	if err != nil {
		return err
	}
	w.compareFixed(before, after)
	strays, err := attack.Strays(ctx, w.system, user)
	for _, s := range strays {
		w.wrong("%s, taken over, wrote %s", a.Target, s)
	}
	return err
}

// expelled waits until the password that was stolen is of no use.
func (w *world) expelled(ctx context.Context, stolen bus.Config) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := attack.Login(stolen)
		if errors.Is(err, attack.ErrRefused) {
			return nil
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return errors.Join(errIn, err)
		}
	}
}

var errIn = errors.New("the stolen password is still good")

// compareFixed finds settings that are not as they were. Consumers that only count for a moment are
// tapctl's.
func (w *world) compareFixed(before, after map[string]string) {
	for name := range before {
		if before[name] != after[name] {
			w.wrong("taken over: %s was %s and is %s", name, before[name], after[name])
		}
	}
	for name := range after {
		if before[name] == "" && !strings.Contains(after[name], `"mem_storage":true`) {
			w.wrong("taken over: there is %s: %s", name, after[name])
		}
	}
}

// watchOthers measures how long messages wait for stages that were not taken over.
func (w *world) watchOthers(ctx context.Context, user bus.User, t *thief) {
	b, err := w.connect(ctx)
	if err != nil {
		return
	}
	defer b.Close()
	for sleep(ctx, time.Second) {
		for _, c := range []bus.Consumer{bus.ConsumerFetcherLive, bus.ConsumerFetcherExpand, bus.ConsumerEnricher, bus.ConsumerExpander, bus.ConsumerShipper} {
			if attack.May(user, "$JS.API.CONSUMER.MSG.NEXT."+c.Stream+"."+c.Name) {
				continue
			}
			if oldest, err := b.Oldest(ctx, c); err == nil {
				t.looks++
				if !oldest.Since.IsZero() {
					t.delays[c.Name] = max(t.delays[c.Name], time.Since(oldest.Since))
				}
			}
		}
	}
}

// judgeTaken repairs what the stage that was taken over could do and looks for anything beyond it.
func (w *world) judgeTaken(ctx context.Context, r *Result) {
	w.mu.Lock()
	t := w.thief
	w.mu.Unlock()
	if t == nil {
		r.problem("no stage was taken over")
		return
	}
	h := harms()[t.stage]
	r.Taken = fmt.Sprintf("%s: %d allowed and %d forbidden deeds, others waited %v at %d looks", t.stage, t.deeds.Allowed, t.deeds.Forbidden, t.delays, t.looks)
	bound := time.Duration(float64(freshness) / w.profile.Factor)
	for _, problem := range t.slow(bound) {
		r.problem("%s", problem)
	}
	if err := w.cure(ctx, h); err != nil {
		r.problem("cure: %v", err)
	}
	var s saidStatus
	if _, err := w.question(ctx, &s, "status"); err != nil {
		r.problem("status does not work: %v", err)
	}
	want := func(string) bool { return true }
	if h.skips {
		stored, err := w.inRaw(ctx)
		if err != nil {
			r.problem("read RAW: %v", err)
		}
		want = func(key string) bool { return stored[key] }
	}
	missing := w.missingOf(ctx, h, want)
	if r.Missing = len(missing); r.Missing > 0 {
		r.problem("%d records are missing, such as %s", r.Missing, strings.Join(missing[:min(5, len(missing))], ", "))
	}
	if told := w.look(ctx); told != nil {
		r.Told = told.Error()
	}
}

// cure runs the command that the documentation names.
func (w *world) cure(ctx context.Context, h harm) error {
	if h.cure == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, repairTime)
	defer cancel()
	b, err := w.connect(ctx)
	if err != nil {
		return err
	}
	stream, from := bus.StreamEvents, w.clock.real.Add(-time.Minute)
	if slices.Contains(h.cure, "--reprocess") {
		stream = bus.StreamRaw
	}
	usage, err := b.Usage(ctx, stream)
	b.Close()
	if err != nil || usage.Messages == 0 { // a scheduler purges
		return err
	}
	if usage.First > 1 {
		from = usage.Oldest
	}
	out, err := w.tapctl(ctx, append(h.cure, "--detach", "--from", from.UTC().Format(time.RFC3339Nano))...).CombinedOutput()
	w.log("tapctl %s: %v %.200s", strings.Join(h.cure, " "), err, out)
	if err != nil {
		return fmt.Errorf("tapctl %s: %w: %.300s", strings.Join(h.cure, " "), err, out)
	}
	return nil
}

// inRaw names the records that RAW has, as far as Proofpoint made them.
func (w *world) inRaw(ctx context.Context) (map[string]bool, error) {
	b, err := w.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	keys := make(map[string]bool)
	var raw batch.Raw
	err = b.Scan(ctx, bus.Raws("main"), func(m bus.Stored) (bool, error) {
		if batch.DecodeRaw(m.Data, &raw) != nil || raw.Tenant != "main" { // it is made up
			return true, nil //nolint:nilerr // it is not of the fetcher
		}
		for i := range raw.Records {
			if key, err := tapsim.NaturalKey(feed.Feed(raw.Feed), raw.Records[i].JSON); err == nil {
				keys[raw.Feed+" "+key] = true
			}
		}
		return true, nil
	})
	return keys, err
}

// missingOf waits for what has to arrive whatever the stage did, and returns what does not.
func (w *world) missingOf(ctx context.Context, h harm, want func(key string) bool) []string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var keys []string
	at := w.sim.Now()
	for t := range w.sim.Truth(w.sim.Epoch(), at) {
		if key := string(t.Feed) + " " + t.Key; !t.Visible.After(at) && want(key) {
			keys = append(keys, key)
		}
	}
	if !h.blinds {
		keys = append(keys, w.derived(at)...)
	}
	dead := make(map[string]bool)
	for turn := 0; ; turn++ {
		if turn%20 == 19 {
			w.dead(ctx, dead)
		}
		w.rows.mu.Lock()
		keys = slices.DeleteFunc(keys, func(key string) bool { return w.rows.siem[key] != nil || w.rows.derived[key] || dead[key] })
		w.rows.mu.Unlock()
		if len(keys) == 0 || !sleep(ctx, 200*time.Millisecond) {
			return keys
		}
	}
}
