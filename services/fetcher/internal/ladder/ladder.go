package ladder

import (
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/window"
)

// Class says what a failure may be about.
type Class int

// The classes.
const (
	Everyones Class = iota // says nothing about the window
	Size                   // perhaps the window is too large, or the endpoint is in trouble
	Slow                   // the same, and to repeat it takes long
	Odd                    // the answer is about the window, and proves nothing
	Long                   // it says the window is too long
	Short                  // it says the window is too short
	Huge                   // it is larger than an answer may be
)

// Step is what to do with a window.
type Step int

// The steps.
const (
	Again Step = iota // call again, when the breakers allow it
	Split             // have it planned in parts
	Aside             // have it offered again later
)

const (
	// enough is how many failures of its own a window has before it is set aside, or is cut for its
	// size.
	enough = 3
	// anyway is how many failures a window has before it is cut although everything fails.
	anyway = 6
	// lately is how long an endpoint that served others is taken to serve them.
	lately = 5 * time.Minute
	// tiny is a window that is not cut for an odd answer: the cause is hardly its length.
	tiny = time.Minute
)

// Failure is a call that failed.
type Failure struct {
	ID        string
	Path      string
	Window    window.Window
	Asked     time.Duration // how long the window was as it was asked for
	Class     Class
	Divisible bool // the planner can cut it, in time or by feeds
	Carried   int  // failures that the job brings along
	Aside     bool // it is one that was set aside
	ByOthers  bool // another endpoint was asked than the usual one
	Spent     bool // windows that fail have used up their share: one is cut at a time, to find out whether its length is the reason
}

// Decision is what a failure means.
type Decision struct {
	Step     Step
	Own      bool // the window itself is the reason
	Serving  bool // the endpoint serves other windows
	Failures int  // of its own in a row, for a window that is set aside
}

// Ladder remembers the windows that fail, and what the endpoints do. It is safe for concurrent use.
type Ladder struct {
	now func() time.Time

	mu    sync.Mutex
	jobs  map[string]*job
	paths map[string]*path
	// servedAt is when any endpoint served a window.
	servedAt time.Time
}

// job is a window that was asked for and is not read.
type job struct {
	calls, tried, own int
	others            int               // failures that were not its own
	served            map[string]uint64 // what each path had served when it failed for the job last
	odd               bool              // the last failure was an odd answer
	early             bool              // an answer said that it was called too early
	lacks             map[string]string // what the answers lacked -> the first path that did
}

// maxJobs bounds what is remembered; a window that is forgotten only begins again.
const maxJobs = 4096

// New is a ladder that remembers nothing.
func New(now func() time.Time) *Ladder {
	return &Ladder{now: now, jobs: make(map[string]*job), paths: make(map[string]*path)}
}

func (l *Ladder) job(id string) *job {
	j := l.jobs[id]
	if j == nil {
		for old := range l.jobs {
			if len(l.jobs) < maxJobs {
				break
			}
			delete(l.jobs, old)
		}
		j = &job{served: make(map[string]uint64), lacks: make(map[string]string)}
		l.jobs[id] = j
	}
	return j
}

// Called counts a call for a job.
func (l *Ladder) Called(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.job(id).calls++
}

// Calls is how many were made for a job in this process since it was done last.
func (l *Ladder) Calls(id string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if j := l.jobs[id]; j != nil {
		return j.calls
	}
	return 0
}

// Tried reports whether a job failed before in this process.
func (l *Ladder) Tried(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	j := l.jobs[id]
	return j != nil && j.tried > 0
}

// ByOthers reports whether other endpoints are to be asked next: an odd answer is asked for by
// turns, and so is a window for which an endpoint fails again and again.
func (l *Ladder) ByOthers(id string, carried int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	j := l.jobs[id]
	switch {
	case j == nil || j.tried == 0:
		return carried%2 == 1
	case j.odd:
		return (carried+j.own)%2 == 1
	}
	return j.others >= enough && j.others%2 == 1
}

// Lacks records that an answer from a path lacks something. It reports whether an answer for the
// same job from another path lacked it, too.
func (l *Ladder) Lacks(id, path, what string) (twice bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	j := l.job(id)
	first, known := j.lacks[what]
	if !known {
		j.lacks[what] = path
	}
	return known && first != path
}

// Done forgets a job: it is read, cut, or set aside.
func (l *Ladder) Done(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.jobs, id)
}

// Failed decides about a failure.
func (l *Ladder) Failed(f Failure) Decision {
	l.mu.Lock()
	defer l.mu.Unlock()
	j, p, now := l.job(f.ID), l.path(f.Path), l.now()
	class := p.believes(f.Class, f.Asked, now)
	serving := j.serving(f.Path, p)
	own := class >= Odd || (class != Everyones && serving)
	j.tried++
	j.served[f.Path], j.odd, p.failing = p.served, class == Odd, true
	switch {
	case !own:
		j.others++
	case class != Short:
		j.own++
	}
	last := p.servedAt
	if f.ByOthers { // it is asked for windows that fail, so what the usual one serves counts
		last = l.servedAt
	}
	lately := !last.IsZero() && now.Sub(last).Abs() < lately
	f.Spent = f.Spent && !p.tries(f.Window, now)
	d := Decision{Step: j.step(f, class, serving && p.served > 0), Own: own, Serving: lately, Failures: max(f.Carried+j.own, enough)}
	if f.Aside && own && d.Step == Again { // one call for each offer
		d.Step = Aside
	}
	if d.Step == Split && class != Long {
		p.cut(f.Window, now)
	}
	return d
}

// serving reports whether a path serves others, as far as is known.
func (j *job) serving(name string, p *path) bool {
	if before, known := j.served[name]; known {
		return p.served > before
	}
	return !p.failing
}

func (j *job) step(f Failure, class Class, serving bool) Step {
	own := f.Carried + j.own
	_, _, halves := f.Window.Halves()
	switch class {
	case Long:
		if f.Divisible {
			return Split
		}
	case Huge:
		if f.Divisible && !f.Spent {
			return Split
		}
	case Size, Slow:
		due := own >= enough || (class == Slow && j.own > 0) || j.tried >= anyway
		if f.Divisible && due && !f.Spent {
			return Split
		}
	case Odd:
		if halves && f.Window.Span() > tiny && own >= enough-1 && serving && !f.Spent {
			return Split
		}
	case Everyones, Short:
		return Again
	}
	if own >= enough || (f.Spent && j.own > 0) {
		return Aside
	}
	return Again
}
