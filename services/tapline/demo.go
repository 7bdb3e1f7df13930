package tapline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/lifecycle"
	"github.com/tapline/tapline/pkg/program"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/devosink/devocert"
	"github.com/tapline/tapline/services/shipper"
	"github.com/tapline/tapline/services/tapsim"
)

// DemoOptions of a demonstration.
type DemoOptions struct {
	For   time.Duration // how long it runs before the sums are compared
	Rate  float64       // records created in a real second
	Speed float64       // how much faster than real the simulated time runs
	Age   time.Duration // simulated time to read as backfill
	Seed  uint64
	JSON  bool // end with the account as JSON
}

// DefaultDemo is the demonstration without flags.
func DefaultDemo() DemoOptions {
	return DemoOptions{For: time.Minute, Rate: 1000, Speed: 20, Age: 2 * time.Hour, Seed: 1}
}

// Validate checks the options.
func (o DemoOptions) Validate() error {
	var problems []error
	if o.For < time.Second {
		problems = append(problems, config.Invalid("--for", o.For.String(), "want at least 1s"))
	}
	if o.Rate <= 0 || o.Rate > 1e6 {
		problems = append(problems, config.Invalid("--rate", fmt.Sprint(o.Rate), "want more than 0, at most 1000000"))
	}
	if o.Speed < 1 || o.Speed > 1000 {
		problems = append(problems, config.Invalid("--speed", fmt.Sprint(o.Speed), "want 1 to 1000"))
	}
	if o.Age < 0 || o.Age > 7*24*time.Hour {
		problems = append(problems, config.Invalid("--backfill", o.Age.String(), "want 0s to 168h"))
	}
	return errors.Join(problems...)
}

// errMissing ends a demonstration whose sums do not add up.
var errMissing = errors.New("records that were visible are missing at the sink")

// stand is what a demonstration puts around the pipeline.
type stand struct {
	sim     *tapsim.Sim
	sink    *devosink.Sink
	account *account
	cfg     Config
	close   func() error
}

// Demo runs the pipeline between a simulated Proofpoint and a simulated Devo, in
// a directory of its own that it removes, shows progress on out, and ends with
// the account of both.
func Demo(ctx context.Context, o DemoOptions, rt program.Runtime, out io.Writer) (result Account, err error) {
	if err := o.Validate(); err != nil {
		return result, err
	}
	dir, err := os.MkdirTemp("", "tapline-demo-")
	if err != nil {
		return result, fmt.Errorf("make a directory for the demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := raise(ctx, o, dir, rt)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	watch := func(ctx context.Context) error {
		defer stop()
		result = s.watch(ctx, o, newScreen(out, rt.Metrics, o))
		return nil
	}
	err = lifecycle.Run(ctx,
		lifecycle.Part{Name: "tapline", Run: func(ctx context.Context) error { return Run(ctx, s.cfg, rt, s.sim.Now) }},
		lifecycle.Part{Name: "account", Run: watch},
	)
	return result, err
}

// raise starts the simulators and configures the pipeline for them.
func raise(ctx context.Context, o DemoOptions, dir string, rt program.Runtime) (*stand, error) {
	simConfig := tapsim.Default()
	simConfig.Seed, simConfig.Rate, simConfig.Factor = o.Seed, o.Rate/o.Speed, o.Speed
	simConfig.Age = o.Age
	sim, err := tapsim.New(simConfig)
	if err != nil {
		return nil, err
	}
	certs, err := devocert.New(devocert.Options{})
	if err != nil {
		return nil, err
	}
	files, err := certs.Write(filepath.Join(dir, "certs"))
	if err != nil {
		return nil, err
	}
	conf, err := certs.Server()
	if err != nil {
		return nil, err
	}
	acc := newAccount()
	sink, err := devosink.New(devosink.Config{TLS: conf, Mode: devosink.Count, Log: rt.Log, OnEvent: acc.arrived})
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for the demo: %w", err), sink.Close())
	}
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() { served <- tapsim.Serve(serving, ln, sim) }()
	var cfg Config
	err = config.Load(&cfg, []string{
		"DATA_DIR=" + dir, "TAP_URL=http://" + ln.Addr().String(), "TAP_INSECURE_HTTP=true", "TAP_PRINCIPAL=" + simConfig.Principal,
		"TAP_SECRET=" + simConfig.Secret.Reveal(), "TAP_START_TIME=" + sim.Epoch().Format(time.RFC3339), "SCHEDULER_TICK=50ms", "EXPAND_RATE=200",
		"SINK=" + shipper.SinkDevo, "DEVO_ADDRESS=" + sink.Addr(), "DEVO_CHAIN_FILE=" + files.Chain,
		"DEVO_CERT_FILE=" + files.ClientCert, "DEVO_KEY_FILE=" + files.ClientKey, "HTTP_ADDR=" + telemetry.Off,
	})
	s := &stand{sim: sim, sink: sink, account: acc, cfg: cfg, close: func() error {
		end()
		return errors.Join(<-served, sink.Close())
	}}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}
