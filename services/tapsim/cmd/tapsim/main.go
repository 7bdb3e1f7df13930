// Command tapsim stands in for the Proofpoint TAP API; see package tapsim.
package main

import (
	"github.com/tapline/tapline/pkg/program"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/services/tapsim"
)

func main() {
	program.Main(program.Program[tapsim.ProgramConfig]{
		Name:      "tapsim",
		Summary:   "stands in for the Proofpoint TAP API: generated records, the real rules, faults on demand",
		Telemetry: func(c tapsim.ProgramConfig) telemetry.Config { return c.Telemetry },
		Run:       tapsim.Run,
	})
}
