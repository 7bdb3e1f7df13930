// Command natsserver runs a NATS server as a process of its own, for tests that kill it: from a
// configuration like that of a deployment, which it reads again on SIGHUP.
//
//	natsserver FILE
package main

import (
	"fmt"
	"os"

	"github.com/tapline/tapline/pkg/bus/embedded"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: natsserver FILE")
		os.Exit(2)
	}
	if err := embedded.ServeFile(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "natsserver:", err)
		os.Exit(1)
	}
}
