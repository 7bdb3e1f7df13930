// Command devosink stands in for Devo's TLS syslog endpoint; see package
// devosink. "devosink certs" writes certificates for it and its clients.
package main

import (
	"fmt"
	"os"

	"github.com/tapline/tapline/pkg/program"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/services/devosink"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "certs" {
		if err := devosink.Certs(os.Args[2:], func(format string, args ...any) { fmt.Printf(format, args...) }); err != nil {
			os.Exit(program.Fail(os.Stderr, "devosink", err))
		}
		return
	}
	program.Main(program.Program[devosink.ProgramConfig]{
		Name:      "devosink",
		Summary:   "stands in for Devo's TLS syslog endpoint (devosink certs writes certificates)",
		Telemetry: func(c devosink.ProgramConfig) telemetry.Config { return c.Telemetry },
		Run:       devosink.Run,
	})
}
