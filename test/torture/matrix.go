package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/tapsim"
)

// Crash is one run of the crash matrix: one process is killed at one step.
type Crash struct {
	Seed uint64
	Work Work // what jobs there are, so that the kill hits one of a kind
	Step Step
	Pass int    // which pass of the step is the last
	From string // a step at which it is killed before, when Step is passed only after that; empty for none
	Then string // a step at which it is killed once more, while it makes up for the first kill; empty for none
}

// String names it in reports.
func (c Crash) String() string {
	text := fmt.Sprintf("%s:%d of %s seed %d", c.Step, c.Pass, c.Work, c.Seed)
	if c.From != "" {
		text += ", after " + c.From
	}
	if c.Then != "" {
		text += ", then " + c.Then
	}
	return text
}

// After are the steps that are passed only to make up for a kill, and where that kill has to be.
func After() map[string]string { return map[string]string{"fetcher.completed": "fetcher.published"} }

// Work is the kind of jobs that a world has. Where there are all, the lists come first and ids
// last.
type Work string

// The kinds of work.
const (
	AllWork  Work = "all"
	SIEMWork Work = "siem"
	ListWork Work = "lists"
	// PartOfSIEM is where a run begins that changes its feeds.
	PartOfSIEM Work = "two feeds"
)

// Works lists them, those first that draws prefer.
func Works() []Work { return []Work{SIEMWork, AllWork, ListWork} }

// passes are the last passes that are drawn. Where there is all work, a late one meets the ids that
// records name.
func (k Work) passes() []int {
	switch k {
	case AllWork:
		return []int{1, 2, 3, 5, 8, 13}
	case ListWork: // there are few
		return []int{1, 1, 2}
	}
	return []int{1, 1, 2, 3, 5, 8}
}

// feeds are those that make such work.
func (k Work) feeds() []feed.Feed {
	switch k {
	case SIEMWork:
		return feed.SIEM()
	case PartOfSIEM:
		return []feed.Feed{feed.ClicksBlocked, feed.MessagesBlocked}
	case ListWork:
		return []feed.Feed{feed.Campaigns, feed.PeopleVAP, feed.PeopleTopClicks}
	}
	return feed.All()
}

// CrashOf is the run with a number: the steps take turns, and the rest is drawn from the number,
// the kind of work among those in which the step was reached. Some processes are killed again at
// one of all the steps: some are passed only after a kill.
func CrashOf(n int, steps, all []Step, reached map[Work]map[Step]bool) Crash {
	random := rand.New(rand.NewPCG(uint64(n), 2)) //nolint:gosec // it has to be the same each time
	c := Crash{Seed: uint64(n), Step: steps[n%len(steps)]}
	if c.Step.Name == changeStep { // it is passed once, when there was another plan before
		c.Work, c.Pass = AllWork, 1
		return c
	}
	needed := c.Step
	if c.From = After()[c.Step.Name]; c.From != "" {
		needed.Name = c.From
	}
	works := slices.DeleteFunc(Works(), func(k Work) bool { return !reached[k][needed] })
	if len(works) == 0 { // it was reached by chance only
		works = []Work{AllWork}
	}
	c.Work = works[random.IntN(len(works))]
	if works[0] == SIEMWork && random.IntN(2) == 0 { // a window is what must not be lost
		c.Work = SIEMWork
	}
	passes := c.Work.passes()
	c.Pass = passes[random.IntN(len(passes))]
	if c.From != "" {
		return c
	}
	if random.IntN(3) > 0 {
		return c
	}
	var own []string
	for _, s := range all {
		if s.Program == c.Step.Program {
			own = append(own, s.Name)
		}
	}
	c.Then = own[random.IntN(len(own))]
	return c
}

// ends are the steps at which the starts of the process end.
func (c Crash) ends() []string {
	ends := []string{fmt.Sprintf("%s:%d", c.Step.Name, c.Pass)}
	if c.From != "" {
		ends = []string{fmt.Sprintf("%s:%d", c.From, c.Pass), c.Step.Name + ":1"}
	}
	if c.Then != "" {
		ends = append(ends, c.Then+":1")
	}
	return ends
}

// CrashResult is what one run found.
type CrashResult struct {
	Result
	Crash Crash
	Kills int // at steps: 0 if the process never came to that pass
}

// crashProfile is a small and busy world that passes every step soon.
func crashProfile(seed uint64) Profile {
	return Profile{
		Sink: []string{Acked, Rotate, HTTP}[seed%3], Factor: 30, Rate: 0.05, Age: 90 * time.Minute, Limit: 1800, Forensics: seed%2 == 0,
		Batch: 20, Malformed: 0.03, Sweeps: "35m", AckWait: 5 * time.Second, Reports: true, People: []int{14}, Service: services()[0], Work: AllWork,
	}
}

// RunCrash plays one run of the matrix.
func RunCrash(ctx context.Context, c Crash, o Options) (*CrashResult, error) {
	profile := crashProfile(c.Seed)
	profile.Work = c.Work
	r := &CrashResult{Result: Result{Seed: c.Seed, Profile: profile.String()}, Crash: c}
	w, err := open(ctx, c.Seed, profile, o)
	if err != nil {
		return r, err
	}
	err = w.crash(ctx, c, r)
	return r, errors.Join(err, w.close())
}

// single are the processes of the matrix: one of each stage, so that no other does the work of the
// killed one.
func single() []string { return []string{"scheduler-0", "fetcher-0", "enricher-0", "shipper-0"} }

func (w *world) crash(ctx context.Context, c Crash, r *CrashResult) error {
	setup := w.processes[setupProcess]
	setup.args = []string{"setup"}
	victim := w.processes[c.Step.Program+"-0"]
	if c.Step.Program == setup.program {
		victim = setup
	}
	changes := c.Step.Name == changeStep
	if victim != nil && !changes {
		victim.last = c.ends()
	}
	w.rows.why = c.Step.String
	if err := w.difficulties(); err != nil {
		return err
	}
	for setup.run(ctx) != nil {
		if ctx.Err() != nil || setup.killed() == 0 { // once it was; now it has to work
			return fmt.Errorf("%s: %w", setup.name, errEnd)
		}
	}
	err := errors.Join(w.setup(ctx, w.roomy()), w.stranger(ctx), w.poison(ctx))
	if changes && err == nil {
		err = w.changed(ctx)
		victim.last = c.ends()
	}
	if err := errors.Join(err, w.start(single())); err != nil {
		return err
	}
	if c.From != "" && victim != nil { // everything may be at the sink before it comes to that
		for end := time.Now().Add(time.Minute); victim.killed() < len(c.ends()) && time.Now().Before(end) && sleep(ctx, 50*time.Millisecond); {
		}
	}
	w.judge(ctx, &r.Result)
	if victim != nil {
		r.Kills = victim.killed()
	}
	// A claim on an id holds three minutes; a process that dies twice may need longer to come back
	// to what it stored.
	if r.Reread > 0 && r.Kills < 2 {
		r.problem("%d rows were read and published twice", r.Reread)
	}
	switch { // what the documents promise
	case c.Step.Program != "shipper" && r.Resent > 0:
		r.problem("%d rows were sent twice, though no shipper was killed", r.Resent)
	case w.rows.resentBytes > r.Kills*inFlight:
		r.problem("%d bytes of rows were sent twice, more than %d times %d", w.rows.resentBytes, r.Kills, inFlight)
	}
	return nil
}

// changeStep is passed when the feeds are others than at the start before.
const changeStep = "scheduler.change"

// Possible reports whether runs of the matrix pass a step that was not reached without any kill.
func Possible(s Step) bool { return After()[s.Name] != "" || s.Name == changeStep }

// changed lets the pipeline begin with a part of the feeds.
func (w *world) changed(ctx context.Context) error {
	all := w.profile.Work
	w.profile.Work = PartOfSIEM
	err := w.start(single())
	for end := time.Now().Add(time.Minute); err == nil && w.any() == 0; {
		if time.Now().After(end) || !sleep(ctx, 50*time.Millisecond) {
			return fmt.Errorf("%w: nothing arrived of a part of the feeds", errEnd)
		}
	}
	for _, name := range single() {
		w.processes[name].end(syscall.SIGTERM)
	}
	w.profile.Work = all
	return err
}

// any is how many rows there are.
func (w *world) any() int {
	total, _, _, _ := w.rows.counts()
	return total
}

// difficulties make the stages pass the steps that need some.
func (w *world) difficulties() error {
	return errors.Join(
		w.tooLong(w.sim.Epoch().Add(time.Minute)),
		w.sim.Inject(tapsim.Fault{Kind: tapsim.FaultStatus, Status: 500, Count: 2, Path: "/v2/threat/summary/"}),           // ids get jobs of their own
		w.sim.Inject(tapsim.Fault{Kind: tapsim.FaultSlow, Delay: 3500 * time.Millisecond, Count: 1, Path: "/v2/siem/all"}), // a window is cut
	)
}

// tooLong makes a record of which no row can be sent: it ends in DEAD.
func (w *world) tooLong(created time.Time) error {
	w.long = true
	at := w.sim.Now().Format(time.RFC3339)
	text := fmt.Sprintf(`{"id":"long","GUID":"long","messageTime":%q,"threatTime":%q,"subject":%q}`, at, at, strings.Repeat("a", longestRow))
	return w.sim.AddRecord(feed.MessagesBlocked, created, created, []byte(text))
}

// stranger orders what no fetcher here may run: it ends in DEAD.
func (w *world) stranger(ctx context.Context) error {
	b, err := w.connect(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	hour := w.sim.Now().Truncate(time.Hour)
	j := &taplinev1.Job{
		Tenant: "other", Feeds: []string{string(feed.ClicksBlocked)}, Window: window.New(hour.Add(-time.Hour), hour).Proto(),
		Lane: taplinev1.Lane_LANE_LIVE, PlannedAt: timestamppb.New(hour),
	}
	id, err := job.Of(j)
	if err != nil {
		return err
	}
	j.Id = id.String()
	return b.PublishJob(ctx, j)
}

// poison stores a record of which no row can be made, as no fetcher would. It is of no job, so that
// no account has it.
func (w *world) poison(ctx context.Context) error {
	b, err := w.connect(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	now := w.sim.Now()
	raw := batch.AppendRawHeader(nil, &batch.Raw{
		Tenant: "main", Feed: string(feed.ClicksBlocked), JobID: "poison", Window: window.New(now.Add(-time.Hour), now),
		PullID: strconv.FormatInt(now.UnixMilli(), 10), FetchedAt: now,
	})
	for i := range uint64(8) { // as many as the latest pass that is the last
		raw = batch.AppendRecord(raw, &batch.Record{ID: identity.Named("poison", strconv.FormatUint(i, 10)), TimeMS: now.UnixMilli(), JSON: []byte(`["poison"]`)})
	}
	_, err = b.StoreJob(ctx, bus.JobOutput{
		Tenant: "main", JobID: "poison",
		Batches: func(yield func(bus.RawMessage, error) bool) {
			yield(bus.RawMessage{Feed: string(feed.ClicksBlocked), Data: batch.Pack(nil, raw)}, nil)
		},
	})
	return err
}

// run runs a program that ends by itself.
func (p *process) run(ctx context.Context) error {
	if err := p.start(); err != nil {
		return err
	}
	p.mu.Lock()
	p.wanted = false
	done := p.done
	p.mu.Unlock()
	select {
	case <-ctx.Done():
		p.end(syscall.SIGKILL)
		return ctx.Err()
	case <-done:
	}
	if p.state != nil && p.state.Success() {
		return nil
	}
	return fmt.Errorf("%s: %w", p.name, errEnd)
}

// Reached lists the steps that were passed in the world of a directory.
func Reached(dir string) (map[Step]bool, error) {
	files, err := filepath.Glob(filepath.Join(dir, "steps-*"))
	if err != nil {
		return nil, fmt.Errorf("read the steps: %w", err)
	}
	reached := make(map[Step]bool)
	for _, file := range files {
		program, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(file), "steps-"), "-")
		data, err := os.ReadFile(file) //nolint:gosec // our own file
		if err != nil {
			return nil, fmt.Errorf("read the steps: %w", err)
		}
		for name := range strings.FieldsSeq(string(data)) {
			reached[Step{name, program}] = true
		}
	}
	return reached, nil
}
