// Command natsserver runs a NATS server as a process of its own, synced to disk at every write:
// from a configuration like that of a deployment, which it reads again on SIGHUP, or as package
// embedded has it, without users.
//
//	natsserver FILE
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
	var err error
	switch len(os.Args) {
	case 2:
		err = embedded.ServeFile(os.Args[1])
	case 3:
		err = serve(os.Args[1], os.Args[2])
	default:
		fmt.Fprintln(os.Stderr, "usage: natsserver FILE, or natsserver DIR HOST:PORT")
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "natsserver:", err)
		os.Exit(1)
	}
}

// serve runs the server of package embedded until a signal ends it.
func serve(dir, listen string) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	server, err := embedded.Start(embedded.Options{Dir: dir, Listen: listen, Log: log})
	if err != nil {
		return err
	}
	log.Info("start", slog.String("url", server.URL()))
	<-ctx.Done()
	server.Stop()
	return nil
}
