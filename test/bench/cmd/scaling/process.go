package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tapline/tapline/pkg/freeport"
)

// process is one program that runs until stop.
type process struct {
	program string
	port    int // of probes and metrics
	cmd     *exec.Cmd
	done    chan struct{} // closed when it has ended
	log     string
}

// start runs a program with nothing in its environment but env.
func start(bin, dir, program string, env []string, args ...string) (*process, error) {
	port, err := freeport.Find()
	if err != nil {
		return nil, err
	}
	p := &process{program: program, port: port, done: make(chan struct{}), log: filepath.Join(dir, fmt.Sprintf("%s-%d.log", program, port))}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	defer log.Close() // the process has its own
	path := filepath.Join(bin, program)
	p.cmd = &exec.Cmd{Path: path, Args: append([]string{path}, args...), Stdout: log, Stderr: log}
	p.cmd.Env = append([]string{"TMPDIR=" + dir, "LOG_FORMAT=text", "HTTP_ADDR=" + address(port)}, env...)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	go func() {
		_ = p.cmd.Wait() // a measurement notices by itself when a program is gone
		close(p.done)
	}()
	return p, nil
}

// stop takes the process down, at the latest after 20 seconds.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(20 * time.Second)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

var (
	errEnded  = errors.New("ended by itself")
	errAnswer = errors.New("answered with another status than 200")
	errNoLine = errors.New("has no such line")
)

// alive gives an error with the last line of the log when the process is gone.
func (p *process) alive() error {
	select {
	case <-p.done:
		text, _ := os.ReadFile(p.log)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		return fmt.Errorf("%s %w: %s", p.program, errEnded, lines[len(lines)-1])
	default:
		return nil
	}
}

// ticks is how many of /proc's units of processor time a second has, on every Linux.
const ticks = 100

// cpu is how many seconds of a core the process has used.
func (p *process) cpu() (float64, error) {
	path := fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid)
	text, err := os.ReadFile(path) //nolint:gosec // of our own process
	if err != nil {
		return 0, fmt.Errorf("processor time of %s: %w", p.program, err)
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name may have blanks
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("processor time of %s: %s %w", p.program, path, errNoLine)
	}
	user, err := strconv.ParseFloat(fields[11], 64)
	system, err2 := strconv.ParseFloat(fields[12], 64)
	return (user + system) / ticks, errors.Join(err, err2)
}

// memory reads a line of /proc such as VmHWM, in MiB.
func (p *process) memory(name string) (float64, error) {
	path := fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid)
	text, err := os.ReadFile(path) //nolint:gosec // of our own process
	if err != nil {
		return 0, fmt.Errorf("memory of %s: %w", p.program, err)
	}
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(name+":")); ok {
			kib, err := strconv.ParseFloat(strings.Fields(string(rest))[0], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("memory of %s: %s %w as %s", p.program, path, errNoLine, name)
}

// metrics are the samples of a process, by name and labels as they are written.
func (p *process) metrics(ctx context.Context) (map[string]float64, error) {
	text, err := get(ctx, "http://"+address(p.port)+"/metrics")
	if err != nil {
		return nil, err
	}
	samples := make(map[string]float64)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if i := strings.LastIndexByte(line, ' '); i > 0 && line[0] != '#' {
			if v, err := strconv.ParseFloat(line[i+1:], 64); err == nil {
				samples[line[:i]] = v
			}
		}
	}
	return samples, nil
}

// get asks with a deadline and gives the whole answer.
func get(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", url, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", url, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errAnswer
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", url, err)
	}
	return text, nil
}

func address(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
