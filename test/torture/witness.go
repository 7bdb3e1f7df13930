package torture

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/services/tapsim"
)

const (
	livez  = "/livez"
	readyz = "/readyz"

	// calmAfter is what the programs of a world may take to start.
	calmAfter = 30 * time.Second
	// mostLies bounds what a run tells of them.
	mostLies = 8
	// lookTime bounds one question. A command that the broker does not answer says nothing.
	lookTime = 20 * time.Second
	// longestLook bounds all questions of one look, and the wait for it.
	longestLook = 90 * time.Second
)

// commands are asked in this order: what status calls read was owed before, so a record of it is
// listed by gaps, or on its way for verify, or at the sink by then.
func commands() []string { return []string{"status", "gaps", "verify"} }

func cutProbe(name string) (process, path string) {
	process, path, _ = strings.Cut(name, " ")
	return process, path
}

// witness asks Tapline at random moments what it says of itself, and holds that against the truth.
type witness struct {
	w *world

	mu    sync.Mutex
	looks int
	told  int // of these, with a siege that was to be told
	lies  []string
	began time.Time
	siege *siege
	since time.Time
	stuck map[string]time.Time // since when /livez of a process does not say 200
	calm  time.Time            // nothing is wrong from then on; zero if something may be
}

// watch begins to ask. The function ends it.
func (w *world) watch(ctx context.Context) (*witness, func()) {
	wit := &witness{w: w, stuck: make(map[string]time.Time)}
	if w.profile.Calm {
		wit.calm = time.Now().Add(calmAfter)
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for sleep(ctx, 2*time.Second+rand.N(4*time.Second)) { //nolint:gosec // when it looks is to be different each time
			wit.look(ctx)
		}
	})
	return wit, func() { cancel(); wg.Wait() }
}

// look asks once and judges.
func (k *witness) look(ctx context.Context) {
	s, err := k.ask(ctx)
	if ctx.Err() != nil {
		return
	}
	for _, text := range k.standstill(s) {
		k.lie(text)
	}
	if k.w.profile.Taken != "" { // what one stage says is not its own word; but every command works
		k.mu.Lock()
		k.looks++
		k.mu.Unlock()
		if err != nil {
			k.lie("beside a stage that was taken over: " + err.Error())
		}
		return
	}
	k.mu.Lock()
	f := &facts{began: cmp.Or(k.began, s.at), calm: !k.calm.IsZero() && s.asked.After(k.calm)}
	if k.siege != nil && s.asked.After(k.since.Add(k.siege.after)) {
		f.siege = k.siege
	}
	k.mu.Unlock()
	switch {
	case err == nil:
		k.facts(ctx, s, f)
	case f.calm:
		k.lie("in a calm world: " + err.Error())
		return
	case f.siege == nil || !f.siege.unready:
		return // it says nothing, and that it says
	}
	for _, text := range s.lies(f) {
		k.lie(text)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.looks++
	if f.siege != nil {
		k.told++
	}
	if k.began.IsZero() && len(s.status.Feeds) > 0 {
		k.began = s.at
	}
}

// stuckFor is how long a process may say that it is dead: no action stops one for longer than some
// seconds, and its supervisor restarts it.
const stuckFor = 45 * time.Second

// standstill lists the processes that call themselves dead for too long, whatever happens around
// them.
func (k *witness) standstill(s *said) (lies []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name := range k.stuck {
		if status := s.probes[name]; status == 0 || status == http.StatusOK {
			delete(k.stuck, name)
		}
	}
	for name, status := range s.probes {
		if _, path := cutProbe(name); path != livez || status == http.StatusOK {
			continue
		}
		since, known := k.stuck[name]
		if !known {
			k.stuck[name] = s.asked
		} else if s.asked.Sub(since) > stuckFor {
			lies = append(lies, fmt.Sprintf("%s answers %d since %s", name, status, since.Format(time.TimeOnly)))
		}
	}
	return lies
}

// toldOf counts the looks at what was to be told.
func (k *witness) toldOf() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.told
}

func (k *witness) lie(text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	text = k.w.sim.Now().Format("15:04:05 ") + text
	k.w.log("LIE: %s", text)
	if len(k.lies) < mostLies {
		k.lies = append(k.lies, text)
	}
}

// ask puts the questions, in the order that [said.lies] relies on.
func (k *witness) ask(ctx context.Context) (*said, error) {
	s := &said{at: k.w.sim.Now(), asked: time.Now(), exits: make(map[string]int), probes: make(map[string]int)}
	for _, name := range k.w.running() {
		for _, path := range []string{livez, readyz} {
			if status := k.w.processes[name].probe(ctx, path); status != 0 {
				s.probes[name+" "+path] = status
			}
		}
	}
	for i, into := range []any{&s.status, &s.gaps, &s.report} {
		command := commands()[i]
		status, err := k.w.question(ctx, into, command)
		if err != nil {
			return s, err
		}
		s.exits[command] = status
	}
	return s, nil
}

// question runs tapctl and decodes what it prints. An exit status of 3 is an answer, too.
func (w *world) question(ctx context.Context, into any, command string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	cmd := w.tapctl(ctx, command, "--output", "json")
	cmd.Env = append(cmd.Env, "TAPLINE_CLOCK="+w.clock.file(readBackClock))
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	status := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 3 {
		status, err = 3, nil
	}
	if err == nil {
		err = json.Unmarshal(out, into)
	}
	if err != nil {
		return 0, fmt.Errorf("tapctl %s: %w: %.300s", command, err, problems.String())
	}
	return status, nil
}

// facts gathers what is true of the moment of the first question.
func (k *witness) facts(ctx context.Context, s *said, f *facts) {
	w := k.w
	f.lag = indexLag
	w.mu.Lock()
	f.damaged = w.damaged
	unread := s.asked.Before(w.unread)
	w.mu.Unlock()
	if !w.profile.Lies && !f.damaged && !unread { // else rows may be confirmed that are not there
		for t := range w.sim.Truth(w.sim.Epoch(), s.at) {
			if !t.Visible.After(s.at) && w.collects(t.Feed) {
				f.missing = append(f.missing, t)
			}
		}
		w.rows.mu.Lock()
		f.missing = slices.DeleteFunc(f.missing, func(t tapsim.Truth) bool { return w.rows.siem[string(t.Feed)+" "+t.Key] != nil })
		w.rows.mu.Unlock()
	}
	if !f.calm && len(f.missing) == 0 {
		return
	}
	dead := make(map[string]bool)
	n, err := w.letters(ctx, dead)
	if err != nil { // the broker went away: nothing can be said about what is missing
		f.missing = nil
		return
	}
	f.dead = n
	f.missing = slices.DeleteFunc(f.missing, func(t tapsim.Truth) bool { return dead[string(t.Feed)+" "+t.Key] })
}

// running lists the processes of stages that run.
func (w *world) running() []string {
	return slices.DeleteFunc(stageProcesses(), func(name string) bool { return w.processes[name].running() == nil })
}

// probe asks a process and gives the status; 0 if it does not answer.
func (p *process) probe(ctx context.Context, path string) int {
	p.mu.Lock()
	port := p.port
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), http.NoBody)
	if err != nil {
		return 0
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// report adds what was found to a result.
func (k *witness) report(r *Result) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r.Looks, r.Lies = k.looks, len(k.lies)
	for _, text := range k.lies {
		r.problem("a lie: %s", text)
	}
	if k.looks == 0 {
		r.problem("nobody looked at what Tapline says")
	}
}

// stage names of dead letters.
func deadStages() []string { return []string{"scheduler", "fetcher", "enricher", "shipper"} }

// letters adds the records whose bytes are in DEAD, and counts its messages.
func (w *world) letters(ctx context.Context, keys map[string]bool) (int, error) {
	b, err := w.connect(ctx)
	if err != nil {
		return 0, err
	}
	defer b.Close()
	n := 0
	for _, stage := range deadStages() {
		err := b.Scan(ctx, bus.Dead("main", stage), func(m bus.Stored) (bool, error) {
			n++
			if key := keyOf(m.Data); key != "" {
				keys[key] = true
			}
			return true, nil
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
