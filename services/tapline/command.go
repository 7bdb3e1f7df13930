package tapline

import (
	"context"
	"fmt"
	"io"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/program"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/pkg/telemetry/otlp"
)

// Process is what a command gets from the operating system.
type Process struct {
	Args, Environ  []string
	Stdout, Stderr io.Writer
}

// Execute runs the command line and returns the exit status.
func Execute(ctx context.Context, p Process) int {
	root := &cobra.Command{
		Use: "tapline", Short: "Collects Proofpoint TAP data and delivers it to Devo, in one process",
		SilenceErrors: true, SilenceUsage: true, Version: program.Version(),
	}
	root.SetArgs(p.Args)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return config.Invalid("command line", "", err.Error()+": see --help")
	})
	root.AddCommand(p.run(), p.demo(), p.healthcheck()) //nolint:contextcheck // they get it from cobra when they run
	root.Args = noArgs("want run, demo or healthcheck: see --help")
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	if err := root.ExecuteContext(ctx); err != nil {
		return program.Fail(p.Stderr, "tapline", err)
	}
	return program.ExitOK
}

// noArgs refuses arguments that a command does not take.
func noArgs(want string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return config.Invalid("command line", args[0], want)
		}
		return nil
	}
}

func (p Process) run() *cobra.Command {
	cmd := &cobra.Command{
		Use: "run", Short: "Collect and deliver until stopped", Args: noArgs("want no arguments, only flags: see --help"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			main := program.Program[Config]{
				Name: name, Summary: cmd.Short,
				Telemetry: func(c Config) telemetry.Config { return c.Telemetry },
				Traces:    otlp.Traces,
				Run: func(ctx context.Context, c Config, rt program.Runtime) error {
					defer thrifty(rt.Environ)()
					return Run(ctx, c, rt, nil)
				},
			}
			return main.Start(cmd.Context(), p.Environ, p.Stdout, p.Stderr)
		},
	}
	help := cmd.HelpFunc()
	cmd.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		help(cmd, args)
		_, _ = fmt.Fprintln(p.Stdout, "\nConfiguration comes from environment variables:")
		program.PrintVariables(p.Stdout, config.Describe(&Config{}))
	})
	return cmd
}

func (p Process) healthcheck() *cobra.Command {
	return &cobra.Command{
		Use: "healthcheck", Short: "Ask a running tapline whether it is alive", Args: noArgs("want no arguments, only flags: see --help"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var c telemetry.Config
			if err := config.Load(&c, p.Environ); err != nil {
				return err
			}
			return telemetry.CheckProbe(cmd.Context(), c.HTTPAddr, "/livez")
		},
	}
}

func (p Process) demo() *cobra.Command {
	o := DefaultDemo()
	summary := ""
	cmd := &cobra.Command{
		Use: "demo", Short: "Run between a simulated Proofpoint and a simulated Devo, and settle the account", Args: noArgs("want no arguments, only flags: see --help"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if summary != "" && summary != "text" && summary != "json" {
				return config.Invalid("--summary", summary, "want text or json")
			}
			o.JSON = summary == "json"
			var tc telemetry.Config
			if err := config.Load(&tc, p.Environ); err != nil {
				return err
			}
			progress := p.Stdout
			if o.JSON { // standard output is for the account alone
				progress = p.Stderr
			}
			rt := program.Runtime{
				Log: telemetry.NewLogger(p.Stderr, tc), Metrics: prometheus.NewRegistry(), Health: telemetry.NewHealth(), Stdout: p.Stdout,
			}
			account, err := Demo(cmd.Context(), o, rt, progress)
			if err != nil {
				return err
			}
			return account.print(p.Stdout, o.JSON)
		},
	}
	f := cmd.Flags()
	f.DurationVar(&o.For, "for", o.For, "how long to run before the account is settled")
	f.Float64Var(&o.Rate, "rate", o.Rate, "records created in a second")
	f.Float64Var(&o.Speed, "speed", o.Speed, "how much faster than real the simulated time runs")
	f.DurationVar(&o.Age, "backfill", o.Age, "simulated time before the start that is read, too")
	f.Uint64Var(&o.Seed, "seed", o.Seed, "same seed, same records")
	f.StringVar(&summary, "summary", "text", "form of the account: text or json")
	return cmd
}
