// Command tapctl operates Tapline; see package tapctl.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/tapline/tapline/pkg/program"
	"github.com/tapline/tapline/pkg/step"
	"github.com/tapline/tapline/services/tapctl"
)

func main() {
	program.Protect()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := tapctl.Execute(ctx, tapctl.Process{Args: os.Args[1:], Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr, Now: step.Clock()})
	stop()
	os.Exit(code)
}
