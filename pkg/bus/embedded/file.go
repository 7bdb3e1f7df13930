package embedded

import (
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tapline/tapline/pkg/config"
)

// ServeFile runs a server from a configuration file, as the program nats-server does, until a signal ends the
// process. SIGHUP has it read the file again. For tests that treat it as a deployment's.
func ServeFile(file string) error {
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		return &config.ProblemError{Variable: "FILE", Value: file, Reason: "is no configuration of a NATS server: " + err.Error()}
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("start NATS server from %s: %w", file, err)
	}
	ns.ConfigureLogger()
	ns.Start()
	if !ns.ReadyForConnections(30 * time.Second) {
		ns.Shutdown()
		return fmt.Errorf("%w in 30 s: is the disk of %s full or broken?", ErrNotReady, opts.StoreDir)
	}
	ns.WaitForShutdown()
	return nil
}
