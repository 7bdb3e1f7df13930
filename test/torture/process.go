package torture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/tapline/tapline/pkg/freeport"
)

// process is one program that is kept running, as an operating system would, unless
// an action wants it down.
type process struct {
	name    string // such as fetcher-1
	program string // such as fetcher
	args    []string
	dir     string
	environ func() []string // for each start

	mu     sync.Mutex
	wanted bool
	cmd    *exec.Cmd
	done   chan struct{} // closed when cmd has ended
	port   int           // of probes and metrics
	starts int
	last   []string         // steps at which the next starts end, one each
	state  *os.ProcessState // of the process that ended last
	atStep bool             // the process at hand is to kill itself
	kills  int              // by itself, at a step
	exits  []string         // of its own accord
	wg     sync.WaitGroup
}

func (p *process) log() string { return filepath.Join(p.dir, "log-"+p.name) }

// start runs the program until stop or kill, and again when it ends by itself.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted = true
	if p.cmd != nil {
		return nil
	}
	return p.spawn()
}

// spawn runs the program once. The caller holds the lock.
func (p *process) spawn() error {
	log, err := os.OpenFile(p.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	defer log.Close()        // the process has its own
	freeport.Release(p.port) // of the run before
	if p.port, err = freeport.Find(); err != nil {
		return err
	}
	path := filepath.Join(p.dir, "bin", p.program)
	cmd := &exec.Cmd{Path: path, Args: append([]string{path}, p.args...)}
	cmd.Env = append(p.environ(), "HTTP_ADDR=127.0.0.1:"+strconv.Itoa(p.port))
	end := ""
	if len(p.last) > 0 {
		end, p.last = p.last[0], p.last[1:]
		cmd.Env = append(cmd.Env, "TAPLINE_KILL="+end)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdout, cmd.Stderr = log, log
	_, _ = fmt.Fprintf(log, "--- start %d at %s %s\n", p.starts, time.Now().Format(time.TimeOnly), end)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	p.cmd, p.done, p.atStep = cmd, make(chan struct{}), end != ""
	p.starts++
	p.wg.Go(func() { p.await(cmd, p.done) })
	return nil
}

// restartAfter is how long the supervisor takes to restart a process.
const restartAfter = 300 * time.Millisecond

func (p *process) await(cmd *exec.Cmd, done chan struct{}) {
	err := cmd.Wait()
	p.mu.Lock()
	p.cmd, p.state = nil, cmd.ProcessState
	close(done)
	again := p.wanted
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	itself := p.atStep && ok && status.Signal() == syscall.SIGKILL
	if itself {
		p.kills++
	}
	if again && !itself {
		p.exits = append(p.exits, fmt.Sprintf("%s: %v", p.name, err))
	}
	p.mu.Unlock()
	if !again {
		return
	}
	timer := time.NewTimer(restartAfter)
	defer timer.Stop()
	<-timer.C
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wanted && p.cmd == nil {
		if err := p.spawn(); err != nil {
			p.exits = append(p.exits, err.Error())
		}
	}
}

// end takes the process down with a signal and waits for its end.
func (p *process) end(signal syscall.Signal) {
	p.mu.Lock()
	p.wanted = false
	cmd, done := p.cmd, p.done
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(signal)
	if signal != syscall.SIGKILL {
		timer := time.NewTimer(20 * time.Second)
		defer timer.Stop()
		select {
		case <-done:
			return
		case <-timer.C: // it does not end; the log says why
			p.mu.Lock()
			p.exits = append(p.exits, p.name+": did not end within 20 s of SIGTERM")
			p.mu.Unlock()
			_ = cmd.Process.Kill()
		}
	}
	<-done
}

// signal sends one if the process runs.
func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(s)
	}
}

// ended gives how often the process ended of its own accord, and how.
func (p *process) ended() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.exits...)
}

// killed counts how often the process has killed itself at a step.
func (p *process) killed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kills
}

// running is closed when the process that runs now has ended; nil if none runs.
func (p *process) running() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	return p.done
}

// gauges are what must not grow in a process.
type gauges struct {
	Goroutines  float64
	Descriptors float64
	RSS         float64 // bytes
}

var (
	errNoAnswer = errors.New("no answer")
	errEnd      = errors.New("ended with another status than 0")
)

// measure asks a process for its gauges.
func (p *process) measure(ctx context.Context) (gauges, error) {
	p.mu.Lock()
	port := p.port
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/metrics", port), http.NoBody)
	if err != nil {
		return gauges{}, fmt.Errorf("measure %s: %w", p.name, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return gauges{}, fmt.Errorf("measure %s: %w", p.name, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return gauges{}, fmt.Errorf("measure %s: %w: %w", p.name, errNoAnswer, err)
	}
	value := func(metric string) float64 {
		m := regexp.MustCompile(`(?m)^` + metric + ` (\S+)$`).FindSubmatch(text)
		if m == nil {
			return 0
		}
		v, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			return 0
		}
		return v
	}
	return gauges{value("go_goroutines"), value("process_open_fds"), value("process_resident_memory_bytes")}, nil
}
