package e2e_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/services/tapctl"
)

// person runs commands as one of the users of people.
type person struct {
	t       *testing.T
	environ []string
}

func (p person) run(args ...string) (code int, stdout, stderr string) {
	p.t.Helper()
	var out, problems bytes.Buffer
	code = tapctl.Execute(p.t.Context(), tapctl.Process{Args: args, Environ: p.environ, Stdout: &out, Stderr: &problems})
	return code, out.String(), problems.String()
}

// command is what each user may make of one.
type command struct {
	args  []string
	least string
	// moves says that its output counts what goes on, so that only the words are compared.
	moves bool
}

// commands are all that talk to the bus.
func commands(letter, replay, dir string) []command {
	now := time.Now().UTC().Truncate(time.Second)
	span := now.Add(-2*time.Hour).Format(time.RFC3339) + "/" + now.Add(-time.Hour).Format(time.RFC3339)
	return []command{
		{[]string{"status", "--exit-zero"}, bus.UserViewer, true},
		{[]string{"gaps"}, bus.UserViewer, true},
		{[]string{"ledger"}, bus.UserViewer, true},
		{[]string{"verify"}, bus.UserViewer, true},
		{[]string{"trace", "no-such-id"}, bus.UserViewer, false},
		{[]string{"quota"}, bus.UserViewer, true},
		{[]string{"show", "RAW", "1"}, bus.UserViewer, false},
		{[]string{"show", "EVENTS", "1"}, bus.UserViewer, false},
		{[]string{"dead"}, bus.UserViewer, false},
		{[]string{"dead", "ls", "--limit", "10000"}, bus.UserViewer, false},
		{[]string{"dead", "show", letter}, bus.UserViewer, false},
		{[]string{"replay", "--from", "1h", "--all", "--dry-run"}, bus.UserViewer, true},
		{[]string{"retry", span, "--dry-run"}, bus.UserViewer, true},
		{[]string{"replay", "ls"}, bus.UserViewer, true},
		{[]string{"replay", "show", replay}, bus.UserViewer, true},
		{[]string{"replay", "wait", replay}, bus.UserViewer, true},
		{[]string{"quota", "open", "siem"}, bus.UserOperator, false},
		{[]string{"retry", span}, bus.UserOperator, true},
		{[]string{"replay", "pause", replay}, bus.UserOperator, false},
		{[]string{"replay", "resume", replay}, bus.UserOperator, false},
		{[]string{"replay", "cancel", replay}, bus.UserOperator, false},
		{[]string{"dead", "retry", letter}, bus.UserOperator, false},
		{[]string{"dead", "drop", letter}, bus.UserOperator, false},
		{[]string{"replay", "--from", "1h"}, bus.UserAdmin, false},
		{[]string{"ledger", "rebuild"}, bus.UserAdmin, false},
		{[]string{"setup"}, bus.UserAdmin, false},
		{[]string{"backup", dir + "/backup"}, bus.UserAdmin, false},
		{[]string{"restore", dir + "/backup"}, bus.UserAdmin, false},
	}
}

// offline are commands that ask no NATS server for anything that a user could lack, and check,
// which goes on without.
var offline = []string{"certs", "check", "completion", "flatten", "help", "migrate", "seal", "users", "quota what-if"}

// peopleWork holds each command against its table: a viewer sees what the admin sees, and a user
// that may not act hears in one line which one may.
func peopleWork(t *testing.T, server *bustest.Guarded, environ []string, dir string) {
	t.Helper()
	as := func(user string) person {
		c := server.As(user)
		return person{t, append(slices.Clone(environ), "NATS_URL="+c.URL, "NATS_USER="+user, "NATS_PASSWORD="+c.Password.Reveal())}
	}
	users := []string{bus.UserViewer, bus.UserOperator, bus.UserAdmin}
	admin, operator := as(bus.UserAdmin), as(bus.UserOperator)
	if code, _, problem := admin.run("replay", "--from", "1h", "--table", "mail.proofpoint.tapsiem_v2.clicksblocked", "--detach"); code != 0 {
		t.Fatalf("replay: %s", problem)
	}
	_, listed, _ := admin.run("replay", "ls", "--output", "json")
	var replays []struct{ ID string }
	if err := json.Unmarshal([]byte(listed), &replays); err != nil || len(replays) == 0 {
		t.Fatalf("replays: %v in %q", err, listed)
	}
	if code, _, problem := admin.run("replay", "wait", replays[0].ID); code != 0 {
		t.Fatalf("wait: %s", problem)
	}
	_, dead, _ := admin.run("dead")
	letter, _, _ := strings.Cut(dead, " ")
	if _, err := strconv.Atoi(letter); err != nil {
		t.Fatalf("no dead letter in %q", dead)
	}
	all := commands(letter, replays[0].ID, dir)
	complete(t, admin, all)
	for _, c := range all {
		for i, user := range users[:2] {
			if i < slices.Index(users, c.least) {
				code, out, problem := as(user).run(c.args...)
				if code != 2 || out != "" || strings.Count(problem, "\n") != 1 || !strings.Contains(problem, user) || !strings.Contains(problem, "needs "+c.least) {
					t.Errorf("%v as %s: status %d, %q, %q", c.args, user, code, out, problem)
				}
			} else if c.least == bus.UserViewer {
				alike(t, admin, as(user), c)
			}
		}
	}
	for _, args := range [][]string{{"quota", "open", "siem"}, {"retry", all[17].args[1]}, {"dead", "drop", letter}} {
		if code, _, problem := operator.run(args...); code != 0 {
			t.Errorf("%v as operator: status %d, %q", args, code, problem)
		}
	}
	if _, _, problem := operator.run("dead", "show", letter); !strings.Contains(problem, "no such dead letter") {
		t.Errorf("a letter that an operator dropped: %q", problem)
	}
	if code, out, _ := as(bus.UserViewer).run("check"); code != 3 || !strings.Contains(out, "check needs operator or admin") || !strings.Contains(out, "ok      sink") {
		t.Errorf("check as viewer: status %d, %q", code, out)
	}
	if code, _, problem := as("scheduler").run("dead", "drop", "1"); code != 2 || !strings.Contains(problem, "NATS_USER") || !strings.Contains(problem, "tapctl dead drop needs") {
		t.Errorf("as a user of a stage: status %d, %q", code, problem)
	}
}

var digits = regexp.MustCompile(`[0-9][0-9.:TZhms]*|\s+|never|now`)

// alike waits until a command says the same to two users.
func alike(t *testing.T, admin, other person, c command) {
	t.Helper()
	words := func(s string) string {
		if c.moves {
			return digits.ReplaceAllString(s, "#")
		}
		return s
	}
	var codes [2]int
	var outs [2]string
	poll(t, strings.Join(c.args, " "), func() bool {
		var problem string
		codes[0], outs[0], _ = admin.run(c.args...)
		codes[1], outs[1], problem = other.run(c.args...)
		if codes[1] != codes[0] && strings.Contains(problem, "NATS_USER") {
			t.Fatalf("%v: %s", c.args, problem)
		}
		return codes[0] == codes[1] && words(outs[0]) == words(outs[1])
	})
}

// complete fails when there is a command that no table has.
func complete(t *testing.T, p person, all []command) {
	t.Helper()
	known := slices.Clone(offline)
	for _, c := range all {
		for i := range c.args {
			known = append(known, strings.Join(c.args[:i+1], " "))
		}
	}
	for _, parent := range [][]string{nil, {"dead"}, {"ledger"}, {"quota"}, {"replay"}} {
		_, help, _ := p.run(append(slices.Clone(parent), "--help")...)
		_, list, found := strings.Cut(help, "Available Commands:\n")
		if !found {
			t.Fatalf("no list of commands in %q", help)
		}
		list, _, _ = strings.Cut(list, "\n\n")
		for line := range strings.Lines(list) {
			name := strings.Join(append(slices.Clone(parent), strings.Fields(line)[0]), " ")
			if !slices.Contains(known, name) {
				t.Errorf("the error does not say which user tapctl %s needs", name)
			}
		}
	}
}
