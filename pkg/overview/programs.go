package overview

import "time"

// Program is one program that should run.
type Program struct {
	Stage    string    `json:"stage"`
	Replicas int       `json:"replicas"` // with a sign of life in the last minutes
	Versions []string  `json:"versions"` // of these; of the last one if there is none
	Last     time.Time `json:"last"`     // heartbeat; zero if there was none in the last day
	// Troubles is what its own probes say.
	Troubles []string `json:"troubles"`
	// Needs says what needs a person; empty if nothing does.
	Needs string `json:"needs,omitempty"`
}
