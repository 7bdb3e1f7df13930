package tapctl

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
)

// acting lists the commands for which the NATS user viewer is not enough, with the least user that
// is. Any other command only looks.
var acting = map[string]string{
	"check":          bus.UserOperator, // it counts its call to Proofpoint
	"dead drop":      bus.UserOperator,
	"dead retry":     bus.UserOperator,
	"quota open":     bus.UserOperator,
	"replay pause":   bus.UserOperator,
	"replay resume":  bus.UserOperator,
	"replay cancel":  bus.UserOperator,
	"retry":          bus.UserOperator,
	"backup":         bus.UserAdmin,
	"ledger rebuild": bus.UserAdmin,
	"replay":         bus.UserAdmin, // it makes a consumer
	"restore":        bus.UserAdmin,
	"setup":          bus.UserAdmin,
}

// people are the NATS users of people, each with the rights of those before it.
var people = []string{bus.UserViewer, bus.UserOperator, bus.UserAdmin}

// needs names the users that may run a command, the least first.
func needs(cmd *cobra.Command) []string {
	name := strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
	least := acting[name]
	if dry := cmd.Flags().Lookup("dry-run"); dry != nil && dry.Value.String() == "true" {
		least = ""
	}
	return people[max(0, slices.Index(people, least)):]
}

// permitted refuses what the user may not do before the server does, which says nothing to who
// asked.
func permitted(cmd *cobra.Command, user string) error {
	if want := needs(cmd); slices.Contains(people, user) && !slices.Contains(want, user) {
		return config.Invalid("NATS_USER", user, cmd.CommandPath()+" needs "+strings.Join(want, " or "))
	}
	return nil
}

// explained says that a right was missing, where a command failed for that reason.
func explained(err error, b *bus.Bus, user, command string) error {
	var said *config.ProblemError
	denied := b.Denied()
	if err == nil || denied == nil || errors.Is(err, errFound) || errors.Is(err, context.Canceled) || errors.As(err, &said) {
		return err
	}
	_, reason, _ := strings.Cut(denied.Error(), ": ") // behind what the client library says
	return config.Invalid("NATS_USER", user, "the NATS server denies it: "+reason+"; "+command+" needs more rights: use admin")
}
