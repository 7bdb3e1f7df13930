// Command tapline is all of Tapline in one process; see package tapline.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/tapline/tapline/pkg/program"
	"github.com/tapline/tapline/services/tapline"
)

func main() {
	program.Protect()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := tapline.Execute(ctx, tapline.Process{Args: os.Args[1:], Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr})
	stop()
	os.Exit(code)
}
