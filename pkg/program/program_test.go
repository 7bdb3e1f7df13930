package program_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/program"
	"github.com/tapline/tapline/pkg/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type settings struct {
	Depth     int           `env:"WELL_DEPTH" envDefault:"3" usage:"how deep"`
	Key       config.Secret `env:"WELL_KEY,required" usage:"opens it"`
	Telemetry telemetry.Config
}

// Validate refuses shallow wells.
func (s settings) Validate() error {
	if s.Depth < 1 {
		return config.Invalid("WELL_DEPTH", "0", "want 1 or more")
	}
	return nil
}

func execute(t *testing.T, run func(context.Context, settings, program.Runtime) error, args []string, environ ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	p := program.Program[settings]{
		Name: "well", Summary: "is deep", Run: run,
		Telemetry: func(s settings) telemetry.Config { return s.Telemetry },
	}
	code = p.Execute(t.Context(), args, append([]string{"HTTP_ADDR=off", "LOG_FORMAT=json"}, environ...), &out, &err)
	return code, out.String(), err.String()
}

func never(context.Context, settings, program.Runtime) error {
	return errors.New("it ran")
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args           []string
		environ        []string
		code           int
		stdout, stderr string
	}{
		{[]string{"--help"}, nil, 0, "WELL_DEPTH", ""},
		{[]string{"--version"}, nil, 0, "well ", ""},
		{[]string{"--nonsense"}, nil, 2, "", "--help"},
		{[]string{"dig"}, nil, 2, "", `argument="dig"`},
		{nil, nil, 2, "", "WELL_KEY: is required"},
		{nil, []string{"WELL_KEY=k", "WELL_DEPTH=0"}, 2, "", `WELL_DEPTH="0": want 1 or more`},
		{nil, []string{"WELL_KEY=hidden", "WELL_DEPTH=deep"}, 2, "", "WELL_DEPTH"},
		{nil, []string{"WELL_KEY=hidden"}, 1, "", "it ran"},
		{[]string{"healthcheck"}, []string{"HTTP_ADDR=127.0.0.1:1"}, 1, "", "/livez"},
	} {
		code, stdout, stderr := execute(t, never, c.args, c.environ...)
		if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) || strings.Contains(stderr, "hidden") {
			t.Errorf("%v %v: status %d, %q, %q", c.args, c.environ, code, stdout, stderr)
		}
	}
}

func TestBeingStoppedIsNoFailure(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	p := program.Program[settings]{
		Name: "well", Telemetry: func(s settings) telemetry.Config { return s.Telemetry },
		Run: func(ctx context.Context, _ settings, rt program.Runtime) error {
			if rt.Health.Report().Ready {
				t.Error("ready before anybody said so")
			}
			stop()
			<-ctx.Done()
			return ctx.Err()
		},
	}
	var out, err bytes.Buffer
	if code := p.Execute(ctx, nil, []string{"HTTP_ADDR=off", "WELL_KEY=k", "LOG_FORMAT=json"}, &out, &err); code != 0 {
		t.Errorf("status %d: %s", code, err.String())
	}
}
