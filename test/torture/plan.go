package torture

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/tapsim"
)

// Action is something that happens to the world, and ends by itself after a while.
type Action struct {
	At     time.Duration // since the start
	Verb   string
	Target string
	For    time.Duration
	Arg    string // what the verb needs besides; - for nothing
}

// String is one line of a plan.
func (a Action) String() string {
	return fmt.Sprintf("%s %s %s %s %s", a.At, a.Verb, a.Target, a.For, a.Arg)
}

// Plan is what happens to a world.
type Plan struct {
	Seed    uint64
	Length  time.Duration // until everything is healed
	Actions []Action
}

// The verbs.
const (
	kill     = "kill"     // SIGKILL, and start again
	term     = "term"     // SIGTERM, and start again
	pause    = "pause"    // SIGSTOP, then SIGCONT
	cut      = "cut"      // break connections
	freeze   = "freeze"   // forward nothing on open connections, then break them
	refuse   = "refuse"   // break connections, and new ones at once
	tap      = "tap"      // a fault of the simulated Proofpoint
	sink     = "sink"     // a fault of the simulated Devo
	scale    = "scale"    // one more replica for a while
	jump     = "jump"     // the clock of a process is wrong for a while
	renew    = "renew"    // new certificates of the sink, a new secret of Proofpoint, or a new password of the broker
	powercut = "powercut" // the broker starts again from what it had synced
	diskfull = "diskfull" // the disk of the broker has no room for a while
	again    = "replay"   // tapctl orders that rows are sent or made again
	full     = "full"     // a stream has no room for a while
	poison   = "poison"   // the simulated Proofpoint answers every window that contains one instant with a status
	besiege  = "siege"    // at the end, when everything else is healed: one thing goes wrong and stays so, see [sieges]
	taken    = "taken"    // a program does random things with the credentials of a stage, beside it
	corrupt  = "corrupt"  // the broker dies, and a byte of a stream has changed when it starts again
)

// choice is a kind of action and how often it is chosen.
type choice struct {
	verb    string
	weight  int
	targets []string
	args    []string
	longest time.Duration
}

func stageProcesses() []string {
	return []string{"scheduler-0", "scheduler-1", "fetcher-0", "fetcher-1", "enricher-0", "enricher-1", "shipper-0", "shipper-1"}
}

// choices are what can happen in a kind of world.
func choices(p Profile) []choice {
	processes := stageProcesses()
	all := append(slices.Clone(processes), broker)
	var links []string
	for _, name := range processes {
		links = append(links, "nats:"+name)
	}
	links = append(links, "tap")
	sinkFaults := []devosink.FaultKind{devosink.FaultRefuse, devosink.FaultNoHandshake, devosink.FaultRefuseCertificate}
	switch p.Sink {
	case Acked: // stalling with rows unread and breaking then may lose under this proof: ADR 6
		sinkFaults = append(sinkFaults, devosink.FaultStall, devosink.FaultSlow)
		if p.Breaks {
			sinkFaults = append(sinkFaults[:3], devosink.FaultReset, devosink.FaultFIN)
		}
	case Rotate:
		sinkFaults = append(sinkFaults, devosink.FaultReset, devosink.FaultFIN, devosink.FaultStall, devosink.FaultSlow, devosink.FaultNoClose)
		links = append(links, "sink", "sink")
	case HTTP:
		sinkFaults = []devosink.FaultKind{devosink.FaultStatus, devosink.FaultLost, devosink.FaultEndless, devosink.FaultReset, devosink.FaultSlow}
		links = append(links, "sink", "sink")
	}
	list := []choice{
		{kill, 30, append(all, broker, broker), nil, 3 * time.Second},
		{term, 8, processes, nil, 2 * time.Second},
		{pause, 12, all, nil, 6 * time.Second},
		{cut, 12, links, nil, 0},
		{freeze, 8, links, nil, 8 * time.Second},
		{refuse, 6, links, nil, 5 * time.Second},
		{tap, 14, []string{"api"}, kinds(
			tapsim.FaultStatus, tapsim.FaultSlow, tapsim.FaultDrip, tapsim.FaultTruncated, tapsim.FaultCutJSON, tapsim.FaultHTML, tapsim.FaultReset,
		), 5 * time.Second},
		{tap, 3, []string{"api"}, []string{"401", "403"}, 5 * time.Second},
		{tap, 20, []string{"api"}, oddities(), 5 * time.Second},
		{poison, 3, []string{"instant"}, []string{"500", "404", "400"}, time.Minute},
		{sink, 14, []string{"faults"}, kinds(sinkFaults...), 6 * time.Second},
		{scale, 5, []string{"scheduler-2", "fetcher-2", "enricher-2", "shipper-2"}, nil, 15 * time.Second},
		{jump, 6, processes, []string{"-2h", "-10m", "-45s", "45s", "10m", "2h"}, 5 * time.Second},
		{renew, 4, []string{"certificates", "secret"}, nil, 0},
		{renew, 3, []string{"password"}, []string{"scheduler", "fetcher", "enricher", "shipper"}, 0},
		{powercut, 4, []string{broker}, nil, 2 * time.Second},
		{diskfull, 3, []string{broker}, nil, 6 * time.Second},
		{again, 4, []string{"order"}, []string{"--all", "--reprocess"}, 0},
		{full, 3, []string{"EVENTS", "RAW"}, nil, 8 * time.Second},
	}
	return special(p, list)
}

// special are the choices of kinds of worlds that are not as most are. Where the sink may lie
// nothing is sent again by chance, which would mend what the comparison is to find, no credential
// is refused, after which there is nothing to lose for five minutes, and no stream fills up:
// delivered history makes room then, and what the sink only said to have cannot be sent again.
func special(p Profile, list []choice) []choice {
	if p.Lies {
		list = slices.DeleteFunc(list, func(c choice) bool { return c.verb == again || c.verb == full || slices.Contains(c.args, "401") })
		list = append(list, choice{sink, 20, []string{"faults"}, kinds(devosink.FaultDiscard, devosink.FaultCut, devosink.FaultTwice), 6 * time.Second})
	}
	if p.Odd {
		list = append(list, choice{tap, 4, []string{"api"}, []string{"404", "429"}, 5 * time.Second})
	}
	return list
}

func kinds[K ~string](list ...K) []string {
	var out []string
	for _, k := range list {
		out = append(out, string(k))
	}
	return out
}

// longEnough is how long a run must be for a siege at its end, which takes four minutes more.
const longEnough = 4 * time.Minute

// has reports whether a plan has such an action.
func (p Plan) has(verb string) bool {
	return slices.ContainsFunc(p.Actions, func(a Action) bool { return a.Verb == verb })
}

// NewPlan makes the plan of a seed. An action never meets a target that another one has in hand.
func NewPlan(seed uint64, length time.Duration) (p Plan) {
	random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // it has to be the same each time
	p = Plan{Seed: seed, Length: length}
	profile := ProfileOf(seed)
	if profile.Calm || profile.Taken != "" {
		p.Actions = takenActions(profile.Taken, length)
		return p
	}
	if seed%2 == 0 && length >= longEnough {
		defer func() {
			names := siegeNames()
			p.Actions = append(p.Actions, Action{At: length, Verb: besiege, Target: names[seed/2%uint64(len(names))], Arg: "-"})
		}()
	}
	list := choices(profile)
	total := 0
	for _, c := range list {
		total += c.weight
	}
	busy := make(map[string]time.Duration)
	for at := 2 * time.Second; ; {
		at += time.Duration(random.Int64N(int64(1600 * time.Millisecond)))
		if at >= length {
			return p
		}
		i, rest := 0, random.IntN(total)
		for ; rest >= list[i].weight; i++ {
			rest -= list[i].weight
		}
		c := list[i]
		a := Action{At: at.Round(time.Millisecond), Verb: c.verb, Target: c.targets[random.IntN(len(c.targets))], Arg: "-"}
		if c.args != nil {
			a.Arg = c.args[random.IntN(len(c.args))]
		}
		if c.longest > 0 {
			a.For = (time.Duration(random.Int64N(int64(c.longest))) + 10*time.Millisecond).Round(time.Millisecond)
		}
		thing := a.Target
		if a.Verb == full || a.Target == "password" { // it asks the broker
			thing = broker
		}
		if at < busy[thing] {
			continue
		}
		busy[thing] = at + a.For + time.Second
		p.Actions = append(p.Actions, a)
	}
}

// takenActions let an attacker in for most of a run, if a stage is taken over.
func takenActions(stage string, length time.Duration) []Action {
	if stage == "" {
		return nil
	}
	return []Action{{At: length / 10, Verb: taken, Target: stage, For: length * 8 / 10, Arg: "-"}}
}

var errPlan = errors.New("not a plan")

// Write prints a plan.
func (p Plan) Write(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "seed %d length %s\n", p.Seed, p.Length); err != nil {
		return fmt.Errorf("write a plan: %w", err)
	}
	for _, a := range p.Actions {
		if _, err := fmt.Fprintln(w, a); err != nil {
			return fmt.Errorf("write a plan: %w", err)
		}
	}
	return nil
}

// ReadPlan reads what Write has printed.
func ReadPlan(r io.Reader) (Plan, error) {
	var p Plan
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) == 0 || f[0] == "#":
		case len(f) == 4 && f[0] == "seed":
			var err1, err2 error
			p.Seed, err1 = strconv.ParseUint(f[1], 10, 64)
			p.Length, err2 = time.ParseDuration(f[3])
			if err := errors.Join(err1, err2); err != nil {
				return Plan{}, fmt.Errorf("%w: %w", errPlan, err)
			}
		case len(f) == 5:
			at, err1 := time.ParseDuration(f[0])
			lasts, err2 := time.ParseDuration(f[3])
			if err := errors.Join(err1, err2); err != nil {
				return Plan{}, fmt.Errorf("%w: %w", errPlan, err)
			}
			p.Actions = append(p.Actions, Action{at, f[1], f[2], lasts, f[4]})
		default:
			return Plan{}, fmt.Errorf("%w: %q", errPlan, lines.Text())
		}
	}
	if err := lines.Err(); err != nil || p.Length == 0 {
		return Plan{}, fmt.Errorf("%w: no line with seed and length: %w", errPlan, err)
	}
	return p, nil
}

// Kind is what reports count an action as.
func (a Action) Kind() string {
	switch a.Verb {
	case tap, sink:
		return a.Verb + " " + a.Arg
	case renew, besiege, taken:
		return a.Verb + " " + a.Target
	case cut, freeze, refuse:
		link, _, _ := strings.Cut(a.Target, ":")
		return a.Verb + " " + link
	}
	return a.Verb + " " + strings.TrimRight(a.Target, "-012")
}
