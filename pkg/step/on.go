//go:build torture

package step

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// plan is what the environment asks of this process.
type plan struct {
	kill   string
	pass   int64
	passes atomic.Int64
	notes  string
	noted  sync.Map
}

var load = sync.OnceValue(func() *plan {
	p := &plan{notes: os.Getenv("TAPLINE_STEPS"), pass: 1}        //nolint:forbidigo // a variable of tests only, and no part of the configuration
	name, pass, ok := strings.Cut(os.Getenv("TAPLINE_KILL"), ":") //nolint:forbidigo // the same
	p.kill = name
	if ok {
		n, err := strconv.ParseInt(pass, 10, 64)
		if err != nil || n < 1 {
			panic("TAPLINE_KILL: want name:pass")
		}
		p.pass = n
	}
	return p
})

// At marks a step, and may be the end of the process.
func At(name string) {
	p := load()
	if p.notes != "" {
		p.note(name)
	}
	if name == p.kill && p.passes.Add(1) == p.pass {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// note appends the name with one write, which other processes do not interrupt.
func (p *plan) note(name string) {
	if _, known := p.noted.LoadOrStore(name, true); known {
		return
	}
	file, err := os.OpenFile(p.notes, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return
	}
	defer file.Close()
	_, _ = file.WriteString(name + "\n")
}

// rereadAfter is how long a reading of the clock's file holds.
const rereadAfter = 50 * time.Millisecond

// rate is the content of the clock's file: "<real> <shown> <factor>". At the real instant the clock
// shows the other one, and goes factor times as fast; both instants are Unix nanoseconds.
type rate struct {
	real, shown int64
	factor      float64
	read        time.Time
}

// load reads the clock's file.
func (r *rate) load(path string) error {
	data, err := os.ReadFile(path) //nolint:gosec // the test names it
	if err != nil {
		return err
	}
	next := rate{}
	if _, err := fmt.Sscan(string(data), &next.real, &next.shown, &next.factor); err != nil {
		return err
	}
	*r = next
	return nil
}

func clockFile() string { return os.Getenv("TAPLINE_CLOCK") } //nolint:forbidigo // the same

// Wait is how long a wait of d, by the clock of TAPLINE_CLOCK, takes by the system's.
func Wait(d time.Duration) time.Duration {
	var r rate
	if path := clockFile(); path == "" || r.load(path) != nil || r.factor <= 0 {
		return d
	}
	return time.Duration(float64(d) / r.factor)
}

// Clock reads TAPLINE_CLOCK now and then. It is nil without one.
func Clock() func() time.Time {
	path := clockFile()
	if path == "" {
		return nil
	}
	var mu sync.Mutex
	var r rate
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		if r.factor == 0 || now.Sub(r.read) > rereadAfter {
			if err := r.load(path); err != nil && r.factor == 0 {
				panic("TAPLINE_CLOCK: " + err.Error())
			}
			r.read = now
		}
		return time.Unix(0, r.shown+int64(float64(now.UnixNano()-r.real)*r.factor)).UTC()
	}
}
