package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/freeport"
	"github.com/tapline/tapline/services/devosink/devocert"
)

// setting is what one pipeline is and what it is to read.
type setting struct {
	PerHour   int           // records of all SIEM feeds
	Span      time.Duration // of backfill
	Fetchers  int           // 0 of all for one process that does everything
	Enrichers int
	Shippers  int
	Latency   time.Duration // of Proofpoint's answers, besides what they take
	Env       []string
}

// pipeline is one tenant: a simulator, a sink, and what runs between the two.
type pipeline struct {
	setting
	dir, bin  string
	simURL    string
	sinkURL   string
	natsURL   string
	standIns  []*process
	processes []*process
	began     time.Time
}

// newPipeline starts everything in an empty directory of its own.
func newPipeline(ctx context.Context, bin, dir string, s setting) (*pipeline, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start a pipeline: %w", err)
	}
	p := &pipeline{setting: s, dir: dir, bin: bin}
	env, err := p.outside(ctx)
	if err == nil {
		err = p.inside(ctx, env)
	}
	if err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// outside starts the stand-ins, and gives what the stages have to know of them.
func (p *pipeline) outside(ctx context.Context) ([]string, error) {
	set, err := devocert.New(devocert.Options{})
	if err != nil {
		return nil, err
	}
	files, err := set.Write(filepath.Join(p.dir, "certs"))
	if err != nil {
		return nil, err
	}
	var ports [3]int
	for i := range ports {
		if ports[i], err = freeport.Find(); err != nil {
			return nil, err
		}
	}
	p.simURL, p.sinkURL = "http://"+address(ports[0]), "http://"+address(ports[1])
	for program, env := range map[string][]string{
		"tapsim": {
			"TAPSIM_ADDR=" + address(ports[0]), "TAPSIM_AGE=" + p.Span.String(), "TAPSIM_LIMIT_SIEM=5000",
			"TAPSIM_RATE=" + strconv.FormatFloat(float64(p.PerHour)/3600, 'g', -1, 64),
		},
		"devosink": {
			"DEVOSINK_HTTP_ADDR=" + address(ports[1]), "DEVOSINK_ADDR=" + address(ports[2]), "DEVOSINK_MODE=count",
			"DEVOSINK_CHAIN_FILE=" + files.Chain, "DEVOSINK_CERT_FILE=" + files.ServerCert, "DEVOSINK_KEY_FILE=" + files.ServerKey,
		},
	} {
		started, err := start(p.bin, p.dir, program, env)
		if err != nil {
			return nil, err
		}
		p.standIns = append(p.standIns, started)
	}
	epoch, err := p.epoch(ctx)
	if err != nil {
		return nil, err
	}
	return append([]string{
		"TAP_URL=" + p.simURL, "TAP_INSECURE_HTTP=true", "TAP_PRINCIPAL=demo", "TAP_SECRET=demo", "TAP_START_TIME=" + epoch.Format(time.RFC3339),
		"DEVO_ADDRESS=" + address(ports[2]), "DEVO_CHAIN_FILE=" + files.Chain, "DEVO_CERT_FILE=" + files.ClientCert, "DEVO_KEY_FILE=" + files.ClientKey,
	}, p.Env...), p.slow(ctx)
}

// epoch waits for both stand-ins and gives when the first record was created.
func (p *pipeline) epoch(ctx context.Context) (time.Time, error) {
	var status struct {
		Epoch time.Time `json:"epoch"`
	}
	err := until(ctx, 10*time.Second, func() error {
		text, err := get(ctx, p.simURL+"/_sim/status")
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &status); err != nil {
			return fmt.Errorf("status of the simulator: %w", err)
		}
		_, err = p.atSink(ctx)
		return err
	})
	return status.Epoch, err
}

// slow makes the simulator answer late.
func (p *pipeline) slow(ctx context.Context) error {
	if p.Latency == 0 {
		return nil
	}
	body := fmt.Sprintf(`{"kind":"slow","delay":%q,"path":"/v2/siem/all"}`, p.Latency)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.simURL+"/_sim/faults", strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("slow the simulator: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("slow the simulator: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("slow the simulator: %w: %s", errAnswer, resp.Status)
	}
	return nil
}

// inside starts what is measured: one process, or a server and the stages.
func (p *pipeline) inside(ctx context.Context, env []string) error {
	port, err := freeport.Find()
	if err != nil {
		return err
	}
	p.natsURL = "nats://" + address(port)
	if p.Fetchers == 0 {
		p.began = time.Now()
		return p.run("tapline", append(env, "DATA_DIR="+filepath.Join(p.dir, "data"), "NATS_LISTEN="+address(port)), "run")
	}
	if err := p.run("natsserver", nil, filepath.Join(p.dir, "data", "nats"), address(port)); err != nil {
		return err
	}
	if err := until(ctx, 10*time.Second, func() error { _, err := p.tapctl(ctx, "setup"); return err }); err != nil {
		return err
	}
	p.began = time.Now()
	env = append(env, "NATS_URL="+p.natsURL)
	for _, stage := range []struct {
		name  string
		count int
	}{{"shipper", p.Shippers}, {"enricher", p.Enrichers}, {"fetcher", p.Fetchers}, {"scheduler", 1}} {
		for range stage.count {
			if err := p.run(stage.name, env); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *pipeline) run(program string, env []string, args ...string) error {
	started, err := start(p.bin, p.dir, program, env, args...)
	if err == nil {
		p.processes = append(p.processes, started)
	}
	return err
}

// tapctl gives the output of a command.
func (p *pipeline) tapctl(ctx context.Context, args ...string) ([]byte, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "tapctl"), args...) //nolint:gosec // our own program
	cmd.Env, cmd.Stderr = []string{"NATS_URL=" + p.natsURL}, &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("tapctl %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

// atSink counts the rows of SIEM records that the sink has, and gives the mean size of a row.
func (p *pipeline) atSink(ctx context.Context) (arrived, error) {
	text, err := get(ctx, p.sinkURL+"/_sink/counts")
	if err != nil {
		return arrived{}, err
	}
	var counts struct {
		Events int64            `json:"events"`
		Bytes  int64            `json:"bytes"`
		Tags   map[string]int64 `json:"tags"`
	}
	if err := json.Unmarshal(text, &counts); err != nil {
		return arrived{}, fmt.Errorf("counts of the sink: %w", err)
	}
	a := arrived{Size: float64(counts.Bytes) / float64(max(1, counts.Events))}
	for tag, n := range counts.Tags {
		if strings.Contains(tag, "tapsiem") {
			a.Rows += n
		}
	}
	return a, nil
}

type arrived struct {
	Rows int64
	Size float64 // bytes
}

// made counts the records that the simulator created before a moment.
func (p *pipeline) made(ctx context.Context, before time.Time) (int64, error) {
	text, err := get(ctx, p.simURL+"/_sim/truth?to="+url.QueryEscape(before.Format(time.RFC3339Nano)))
	return int64(bytes.Count(text, []byte{'\n'})), err
}

// stop ends all processes, stages before the server.
func (p *pipeline) stop() {
	var wg sync.WaitGroup
	for _, one := range p.processes {
		if one.program != "natsserver" {
			wg.Go(one.stop)
		}
	}
	wg.Wait()
	for _, one := range append(p.processes, p.standIns...) {
		one.stop()
	}
}

var errTooLong = errors.New("took too long")

// until tries again and again, a few times a second, and gives the last error at the deadline.
func until(ctx context.Context, limit time.Duration, try func() error) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-deadline.C:
			return fmt.Errorf("%w: %s: %w", errTooLong, limit, err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
