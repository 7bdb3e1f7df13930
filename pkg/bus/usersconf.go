package bus

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// account is where the streams are. The server names folders after it: another name is another,
// empty store.
const account = "TAPLINE"

// accountHash is how a server spells the account in the subject of an ack, from the format on that
// its feature flag js_ack_fc_v2 turns on.
const accountHash = "MPQSSCvO"

// noPassword begins like a hash of bcrypt and is none, so that nothing compares to it.
const noPassword = "$2a$11$none"

// ownAccount is the account of a user that may not do everything.
func ownAccount(user string) string { return strings.ToUpper(user) }

// UsersConf is the part of a NATS server's configuration that makes the users. Passwords come from
// passwords.conf beside it, one line PASSWORD_<USER> = "..." for each user and for sys. Viewer and
// operator may be missing there.
//
// A server checks on which subject a client publishes, and not the subject that it names for the
// answer: JetStream would publish there on its behalf. So each user has an account of its own, in
// which there is nothing. Requests that its work takes are imported from the account that has the
// streams, one by one; their answers come back to the user's account, wherever they were wanted.
func UsersConf() string {
	var b strings.Builder
	b.WriteString(`# Who may do what. Made by "tapctl users" from pkg/bus/access.go: change it there.

# Who has no password in passwords.conf cannot log in: no password has such a hash.
PASSWORD_VIEWER = "` + noPassword + `"
PASSWORD_OPERATOR = "` + noPassword + `"
include ./passwords.conf

accounts {
  SYS { users = [ { user: sys, password: $PASSWORD_SYS } ] }
`)
	fmt.Fprintf(&b, "  %s {\n    jetstream: enabled\n", account)
	for _, u := range Users() {
		if u.Name == UserAdmin {
			login(&b, u)
		}
	}
	exports(&b)
	b.WriteString("  }\n")
	for _, u := range Users() {
		if u.Name == UserAdmin {
			continue
		}
		fmt.Fprintf(&b, "  %s {\n", ownAccount(u.Name))
		login(&b, u)
		b.WriteString("    imports = [\n")
		for _, s := range slices.Sorted(maps.Keys(isolated(u))) {
			fmt.Fprintf(&b, "      { service: { account: %s, subject: %q } }\n", account, s)
		}
		b.WriteString("    ]\n  }\n")
	}
	b.WriteString("}\nsystem_account: SYS\n")
	return b.String()
}

// login is the user of an account. Its permissions say the same as the imports, so that the server
// says what it denies.
func login(b *strings.Builder, u User) {
	fmt.Fprintf(b, "    users = [ {\n      user: %s, password: $PASSWORD_%s\n      permissions {\n", u.Name, strings.ToUpper(u.Name))
	list(b, "publish", u.Publish())
	list(b, "subscribe", u.Subscribe())
	b.WriteString("      }\n    } ]\n")
}

func list(b *strings.Builder, verb string, subjects []string) {
	fmt.Fprintf(b, "        %s: [\n", verb)
	for _, s := range subjects {
		fmt.Fprintf(b, "          %q\n", s)
	}
	b.WriteString("        ]\n")
}

// exports are what accounts of users may import, each subject for those that need it.
func exports(b *strings.Builder) {
	who := map[string][]string{}
	for _, u := range Users() {
		for s := range isolated(u) {
			who[s] = append(who[s], ownAccount(u.Name))
		}
	}
	b.WriteString("    exports = [\n")
	for _, s := range slices.Sorted(maps.Keys(who)) {
		fmt.Fprintf(b, "      { service: %q, accounts: [%s]", s, strings.Join(who[s], ", "))
		if strings.HasPrefix(s, "$JS.API.DIRECT.GET.") || strings.HasPrefix(s, "$JS.API.CONSUMER.MSG.NEXT.") {
			b.WriteString(`, response_type: stream, response_threshold: "1m"`) // many answers to one request; none comes later than 30 s after the one before
		}
		b.WriteString(" }\n")
	}
	b.WriteString("    ]\n")
}

// isolated is the set of subjects that a user with an account of its own imports.
func isolated(u User) map[string]bool {
	subjects := map[string]bool{}
	if u.Name != UserAdmin {
		for _, s := range u.Publish() {
			subjects[s] = true
		}
	}
	return subjects
}
