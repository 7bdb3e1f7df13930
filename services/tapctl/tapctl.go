package tapctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/embedded"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/overview"
	"github.com/tapline/tapline/pkg/printable"
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
	Keys   embedded.Keys
}

// Process is what a command gets from the operating system. Commands get writers that let nothing
// act on a terminal: see package printable.
type Process struct {
	Args, Environ  []string
	Stdout, Stderr io.Writer
	Now            func() time.Time // what the stages take for the time; the system's clock if nil
}

// tool is the state of one invocation.
type tool struct {
	Process
	output string // text or json
}

// Execute runs the command line and returns the exit status.
func Execute(ctx context.Context, p Process) int {
	p.Stdout, p.Stderr = printable.NewWriter(p.Stdout), printable.NewWriter(p.Stderr)
	t := &tool{Process: p}
	if t.Now == nil {
		t.Now = time.Now
	}
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
	root.AddCommand(t.status(), t.gaps(), t.ledger(), t.verify(), t.retry(), t.trace(), t.quota(), t.check(), t.setup(), t.show(), t.dead(), t.flatten(), t.users(), t.certs(), t.migrate(), t.replay(), t.backup(), t.restore(), t.seal()) //nolint:contextcheck // they get it from cobra when they run
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		help(cmd, args)
		t.say("\nConfiguration comes from environment variables:\n\n")
		program.PrintVariables(p.Stdout, config.Describe(&Config{}))
	})
	err := root.ExecuteContext(ctx)
	switch {
	case errors.Is(err, errFound):
		return exitFound
	case err != nil:
		return program.Fail(p.Stderr, "tapctl", err)
	}
	return program.ExitOK
}

// exitFound is the status when a command worked and what it found is not as it should be.
const exitFound = 3

// errFound makes the exit status; what was found is printed already.
var errFound = errors.New("found something")

// print shows v as JSON, or as text in columns.
func (t *tool) print(v any, text func(w io.Writer)) error {
	if t.output == "json" {
		return t.json(v)
	}
	w := tabwriter.NewWriter(t.Stdout, 0, 0, 2, ' ', 0)
	text(w)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
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
	return t.connectedFor(cmd.Context(), cmd, work)
}

func (t *tool) connectedFor(ctx context.Context, cmd *cobra.Command, work func(ctx context.Context, c Config, b *bus.Bus) error) error {
	var c Config
	if err := config.Load(&c, t.Environ); err != nil {
		return err
	}
	if err := permitted(cmd, c.Bus.User); err != nil {
		return err
	}
	log := telemetry.NewLogger(t.Stderr, telemetry.Config{LogLevel: slog.LevelWarn})
	b, err := bus.Connect(ctx, c.Bus, "tapctl", log)
	if err != nil {
		return err
	}
	defer b.Close()
	return explained(work(ctx, c, b), b, c.Bus.User, cmd.CommandPath())
}

// reading runs a command that looks at what the stages keep.
func (t *tool) reading(cmd *cobra.Command, work func(ctx context.Context, r *overview.Reader, b *bus.Bus) error) error {
	return t.connected(cmd, func(ctx context.Context, c Config, b *bus.Bus) error {
		r, err := overview.Open(ctx, b, c.Tenant.Name, c.Quota, t.Now)
		if err != nil {
			return err
		}
		return work(ctx, r, b)
	})
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

// users prints who may do what on a NATS server.
func (t *tool) users() *cobra.Command {
	return &cobra.Command{
		Use: "users", Short: "Print the users of a NATS server and what each may do, as part of its configuration", Args: takes(0),
		RunE: func(*cobra.Command, []string) error {
			lines(t.Stdout, bus.UsersConf())
			return nil
		},
	}
}
