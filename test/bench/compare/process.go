package compare

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a program that runs until end is called or its context ends.
type process struct {
	name string
	log  string // path of what it says
	cmd  *exec.Cmd
	stop context.CancelFunc
	done chan struct{}
}

// launch is what a process is started with.
type launch struct {
	dir  string // for its log
	args []string
	env  []string
}

// spawn starts a program.
func spawn(ctx context.Context, l launch) (*process, error) {
	p := &process{name: filepath.Base(l.args[0]), done: make(chan struct{})}
	p.log = filepath.Join(l.dir, p.name+".log")
	log, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	defer log.Close() // the process has its own
	ctx, p.stop = context.WithCancel(ctx)
	p.cmd = exec.CommandContext(ctx, l.args[0], l.args[1:]...) //nolint:gosec // programs that we compare
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = l.env, log, log
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 20 * time.Second // then it is killed
	if err := p.cmd.Start(); err != nil {
		p.stop()
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		_ = p.cmd.Wait() // the signal is its status
		close(p.done)
	}()
	return p, nil
}

// end ends the program and waits for it.
func (p *process) end() {
	p.stop()
	<-p.done
}

// says is the end of the program's log.
func (p *process) says() string {
	data, _ := os.ReadFile(p.log)
	const most = 2000
	return string(data[max(0, len(data)-most):])
}

// usage is what a process has used so far.
type usage struct {
	cpu  time.Duration // of all threads, user and system
	peak int64         // resident bytes
}

// used reads it out of /proc. The processor's time comes in units of 10 ms.
func (p *process) used() (u usage, err error) {
	dir := "/proc/" + strconv.Itoa(p.cmd.Process.Pid)
	stat, err := os.ReadFile(dir + "/stat") //nolint:gosec // of a process of ours
	if err != nil {
		return u, fmt.Errorf("measure %s: %w", p.name, err)
	}
	// After the name, which may contain anything, the 12th and 13th field are ticks of user and
	// system.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return u, fmt.Errorf("measure %s: %w", p.name, err)
		}
		u.cpu += time.Duration(ticks) * 10 * time.Millisecond
	}
	status, err := os.ReadFile(dir + "/status") //nolint:gosec // of a process of ours
	if err != nil {
		return u, fmt.Errorf("measure %s: %w", p.name, err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				return u, fmt.Errorf("measure %s: %w", p.name, err)
			}
			u.peak = kilobytes << 10
		}
	}
	return u, nil
}
