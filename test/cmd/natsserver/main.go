// Command natsserver runs the NATS server of package embedded as a process of its own,
// synced to disk at every write, for tests that kill it.
//
//	natsserver DIR HOST:PORT
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/tapline/tapline/pkg/bus/embedded"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: natsserver DIR HOST:PORT")
		os.Exit(2)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	server, err := embedded.Start(embedded.Options{Dir: os.Args[1], Listen: os.Args[2], Log: log})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	log.Info("start", slog.String("url", server.URL()))
	<-ctx.Done()
	stop()
	server.Stop()
}
