package torture

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tapline/tapline/services/tapsim"
)

// The sinks and proofs of delivery.
const (
	Acked  = "acked"
	Rotate = "rotate"
	HTTP   = "http"
)

// Profile is a kind of world.
type Profile struct {
	Sink      string  // Acked, Rotate or HTTP
	Breaks    bool    // with Acked: the sink breaks connections, and else it stalls
	Factor    float64 // seconds of the simulated clock in a real one
	Rate      float64 // records in a simulated second
	Age       time.Duration
	Late      float64 // share of late records
	Limit     int     // SIEM calls in 24 hours
	Forensics bool
	Batch     int // records in a message
	Malformed float64
	Sweeps    string
	InFlight  int           // bytes, as by default; 0 for few, and a sink that may break down
	Disk      bool          // the broker's files are on a disk of their own, where the machine lets us make one
	AckWait   time.Duration // times Factor well below the three minutes that a claim on an id holds
	Odd       bool          // Proofpoint answers some calls with 404 or 429 for no good reason
	Lies      bool          // the sink may confirm what it does not store, or stores cut or twice
	Reports   bool          // there are calls for every forensic report
	People    []int         // days that the lists of people cover
	Taken     string        // the stage whose credentials an attacker has; nothing else is done to this world
	Calm      bool          // nothing is done to it, and next to nothing comes
	Work      Work          // the feeds that are collected
	Service   service       // what Proofpoint does otherwise than expected, for good
}

// service is a possible behaviour of Proofpoint that is not ruled out.
type service struct {
	name  string
	apply func(*tapsim.Config)
}

// services are such ways; most worlds are as expected.
func services() []service {
	return []service{
		{"as expected", func(*tapsim.Config) {}},
		{"empty windows are 204", func(c *tapsim.Config) { c.Empty204 = true }},
		{"queryEndTime in milliseconds", func(c *tapsim.Config) { c.EndSpelling = ".000Z" }},
		{"queryEndTime with an offset", func(c *tapsim.Config) { c.EndSpelling = ".000+00:00" }},
		{"windows of 20 minutes at most", func(c *tapsim.Config) { c.MaxSpan = 20 * time.Minute }},
		{"windows of two minutes at least", func(c *tapsim.Config) { c.MinSpan = 2 * time.Minute }},
		{"three minutes behind", func(c *tapsim.Config) { c.HeadLag = 3 * time.Minute }},
	}
}

// ProfileOf is the kind of world of a seed. In every fourth, from 1 on, the sink may lie. In every
// fourth, from 3 on, there are odd answers, if there are calls enough: a 429 takes all that are
// left for the day. In every sixteenth, from 10 on, a stage is taken over, one after the other.
func ProfileOf(seed uint64) Profile {
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // it has to be the same each time
	one := func(list ...float64) float64 { return list[random.IntN(len(list))] }
	p := Profile{
		Sink: []string{Acked, Rotate, HTTP}[random.IntN(3)], Breaks: random.IntN(2) == 0, Factor: one(30, 60), Rate: one(0.1, 0.3),
		Age: time.Duration(one(1, 3)) * time.Hour, Late: one(0, 0.05), Limit: int(one(1800, 1800, 300)), Forensics: random.IntN(2) == 0,
		Batch: int(one(20, 500)), Sweeps: "35m,6h,24h", AckWait: 2 * time.Second, Disk: true, Lies: seed%4 == 1,
	}
	p.Odd = seed%4 == 3 && p.Limit >= 1800
	p.Reports, p.People, p.Service, p.Work = !p.Odd && !p.Lies && seed%3 > 0, []int{14, 30}, services()[0], AllWork
	if list := services(); seed%3 == 0 {
		p.Service = list[seed/3%uint64(len(list))]
	}
	if seed%8 == 6 {
		p.Sweeps, p.Late = "35m", 0.05 // hours are sealed
	}
	if p.Calm = seed%16 == 14; p.Calm {
		p.Rate, p.Age, p.Late, p.Factor = 0.0005, time.Hour, 0, 20
	}
	if seed%16 == 10 {
		names := deadStages()
		p.Taken = names[seed/16%uint64(len(names))]
		p.Factor, p.Age, p.Late, p.Limit, p.Disk, p.Reports = 10, time.Hour, 0, 1800, false, false
	}
	return p
}

// String describes it in a line.
func (p Profile) String() string {
	return fmt.Sprintf("sink %s (breaks %t, lies %t), clock x%g, %g records/s, age %s, late %g, SIEM limit %d, odd answers %t, forensics %t, batches of %d, calm %t, taken over %q, Proofpoint %s",
		p.Sink, p.Breaks, p.Lies, p.Factor, p.Rate, p.Age, p.Late, p.Limit, p.Odd, p.Forensics, p.Batch, p.Calm, p.Taken, p.Service.name)
}
