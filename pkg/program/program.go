package program

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/lifecycle"
	"github.com/tapline/tapline/pkg/printable"
	"github.com/tapline/tapline/pkg/telemetry"
)

// version is stamped by the linker.
var version = "dev"

// Version is the version this binary was built as.
func Version() string { return version }

// Exit statuses.
const (
	ExitOK      = 0
	ExitFailure = 1
	ExitUsage   = 2
)

// Runtime is what a program gets from its surroundings.
type Runtime struct {
	Log     *slog.Logger
	Metrics *prometheus.Registry
	Health  *telemetry.Health
	Traces  trace.TracerProvider // nil for none
	Stdout  io.Writer
	Environ []string
}

// Program is one binary that takes its configuration C from the environment.
type Program[C any] struct {
	Name    string
	Summary string // one sentence for --help
	// Telemetry gives the part of the configuration that this package itself uses.
	Telemetry func(C) telemetry.Config
	// Traces makes the provider of spans, and stop to send the last of them; nil for a program
	// without: see package otlp.
	Traces func(ctx context.Context, c telemetry.TraceConfig, service, version string, log *slog.Logger) (trace.TracerProvider, func(), error)
	// Run works until ctx ends or it fails.
	Run func(ctx context.Context, cfg C, rt Runtime) error
}

// Main runs the program with the arguments, environment and signals of the
// process, and exits.
func Main[C any](p Program[C]) {
	Protect()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := p.Execute(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr) //nolint:forbidigo // the one look at it of every stage binary
	stop()
	os.Exit(code) //nolint:forbidigo // the one exit of every stage binary
}

// Execute is Main with everything explicit; it returns the exit status.
func (p Program[C]) Execute(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	showVersion := flags.Bool("version", false, "print the version and exit")
	flags.Usage = func() {} // after --help it belongs on standard output, after a mistake a hint is enough
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		p.usage(stdout)
		return ExitOK
	case err != nil:
		write(stderr, "See %s --help.\n", p.Name)
		return ExitUsage
	case *showVersion:
		PrintVersion(stdout, p.Name)
		return ExitOK
	}
	if err := p.dispatch(ctx, flags.Args(), environ, stdout, stderr); err != nil {
		return Fail(stderr, p.Name, err)
	}
	return ExitOK
}

func (p Program[C]) dispatch(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	switch {
	case len(args) == 0:
		return p.Start(ctx, environ, stdout, stderr)
	case len(args) == 1 && args[0] == "healthcheck":
		var tc telemetry.Config // all that a probe needs, also where secrets are not at hand
		if err := config.Load(&tc, environ); err != nil {
			return err
		}
		return telemetry.CheckProbe(ctx, tc.HTTPAddr, "/livez")
	}
	return config.Invalid("argument", args[0], "takes none but healthcheck: see --help")
}

// Start reads the configuration and runs the program until ctx ends or it fails.
func (p Program[C]) Start(ctx context.Context, environ []string, stdout, stderr io.Writer) error {
	var cfg C
	if err := config.Load(&cfg, environ); err != nil {
		return err
	}
	tc := p.Telemetry(cfg)
	rt := Runtime{
		Log: telemetry.NewLogger(stderr, tc), Metrics: telemetry.NewRegistry(), Health: telemetry.NewHealth(),
		Stdout: printable.OnTerminal(stdout), Environ: environ,
	}
	rt.Health.NotReady(p.Name, "starting") // taken back by the program when it can make progress
	stop, err := telemetry.Serve(ctx, tc, telemetry.Handler(rt.Health, rt.Metrics))
	if err != nil {
		return err
	}
	defer stop()
	if p.Traces != nil {
		traces, flush, err := p.Traces(ctx, tc.Trace, p.Name, version, rt.Log)
		if err != nil {
			return err
		}
		defer flush()
		rt.Traces = traces
	}
	rt.Log.Info("start", slog.String("service", p.Name), slog.String("version", version))
	if err := lifecycle.Stopped(ctx, p.Run(ctx, cfg, rt)); err != nil {
		return err
	}
	rt.Log.Info("stop", slog.String("service", p.Name))
	return nil
}

func (p Program[C]) usage(w io.Writer) {
	var cfg C
	write(w, "%s: %s\n\nUsage: %s [--help] [--version] [healthcheck]\n\nConfiguration comes from environment variables:\n\n", p.Name, p.Summary, p.Name)
	PrintVariables(w, config.Describe(&cfg))
}

// PrintVariables writes one line for each variable: name, default, meaning.
func PrintVariables(w io.Writer, vars []config.Variable) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	seen := make(map[string]bool)
	for _, v := range vars {
		if seen[v.Name] { // parts may share a variable
			continue
		}
		seen[v.Name] = true
		def := v.Default
		if v.Required {
			def = "(required)"
		} else if def == "" {
			def = "-"
		}
		usage := v.Usage
		if v.Secret {
			usage += "; or " + v.Name + "_FILE, a file that holds it"
		}
		write(table, "  %s\t%s\t%s\n", v.Name, def, usage)
	}
	_ = table.Flush()
}

// PrintVersion writes one line with the version and the Go release.
func PrintVersion(w io.Writer, name string) {
	write(w, "%s %s %s %s/%s\n", name, version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// Fail prints err, one line for each joined part, and returns the exit status
// that fits it.
func Fail(stderr io.Writer, name string, err error) int {
	for line := range strings.Lines(err.Error()) {
		write(stderr, "%s: %s\n", name, printable.Line(strings.TrimSpace(line))) // it may repeat words of others
	}
	if errors.Is(err, config.ErrInvalid) {
		return ExitUsage
	}
	return ExitFailure
}

// write ignores errors: there is no place left to report to when the terminal is gone.
func write(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
