package tapctl

import (
	"context"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/program"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/telemetry"
)

// Config is what all commands take from the environment.
type Config struct {
	Tenant bus.Tenant
	Bus    bus.Config
	Limits bus.Limits
	Quota  quota.Config
}

// Process is what a command gets from the operating system.
type Process struct {
	Args, Environ  []string
	Stdout, Stderr io.Writer
}

// tool is the state of one invocation.
type tool struct {
	Process
	output string // text or json
}

// Execute runs the command line and returns the exit status.
func Execute(ctx context.Context, p Process) int {
	t := &tool{Process: p}
	root := &cobra.Command{
		Use: "tapctl", Short: "Operates Tapline", SilenceErrors: true, SilenceUsage: true, Version: program.Version(),
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if t.output != "text" && t.output != "json" {
				return config.Invalid("--output", t.output, "want text or json")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return config.Invalid("command", args[0], "unknown: see --help")
			}
			return cmd.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	root.PersistentFlags().StringVar(&t.output, "output", "text", "text or json")
	root.SetArgs(p.Args)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return config.Invalid("command line", "", err.Error()+": see --help")
	})
	root.AddCommand(t.setup(), t.quota(), t.show(), t.dead()) //nolint:contextcheck // they get it from cobra when they run
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		help(cmd, args)
		t.say("\nConfiguration comes from environment variables:\n\n")
		program.PrintVariables(p.Stdout, config.Describe(&Config{}))
	})
	if err := root.ExecuteContext(ctx); err != nil {
		return program.Fail(p.Stderr, "tapctl", err)
	}
	return program.ExitOK
}

// takes refuses any other number of arguments.
func takes(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return config.Invalid("command line", strings.Join(args, " "), "want "+cmd.UseLine())
		}
		return nil
	}
}

// connected runs a command with a connection to the bus.
func (t *tool) connected(cmd *cobra.Command, work func(ctx context.Context, c Config, b *bus.Bus) error) error {
	var c Config
	if err := config.Load(&c, t.Environ); err != nil {
		return err
	}
	log := telemetry.NewLogger(t.Stderr, telemetry.Config{LogLevel: slog.LevelWarn})
	b, err := bus.Connect(cmd.Context(), c.Bus, "tapctl", log)
	if err != nil {
		return err
	}
	defer b.Close()
	return work(cmd.Context(), c, b)
}

// setup makes streams, consumers and buckets.
func (t *tool) setup() *cobra.Command {
	return &cobra.Command{
		Use: "setup", Short: "Make or update the streams, consumers and buckets", Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.connected(cmd, func(ctx context.Context, c Config, b *bus.Bus) error {
				if err := b.Setup(ctx, c.Limits, quota.Seeds(c.Tenant.Name)); err != nil {
					return err
				}
				t.say("the bus is set up for tenant %s\n", c.Tenant.Name)
				return nil
			})
		},
	}
}
