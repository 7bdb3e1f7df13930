package bus

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
)

// User is one user of the NATS server and what it may do there: subjects that it may
// publish on, and those that it may subscribe to.
type User struct {
	Name               string
	Publish, Subscribe []string
}

// UserAdmin may do everything to the streams: it is who runs tapctl.
const UserAdmin = "admin"

// Users lists all users in flow order, each with what its work takes and nothing beyond: a
// service that falls into wrong hands cannot do the work of another one, nor take a stream
// away. Streams, consumers and buckets are made by the admin.
func Users() []User {
	return []User{
		{UserAdmin, []string{">"}, []string{">"}},
		service("scheduler",
			[]string{"job.*.live.>", "job.*.sweep.>", "job.*.backfill.>", "job.*.aside.>", "job.*.list.>"},
			lookAt(StreamRaw, StreamEvents, StreamDead), readAny(StreamRaw, StreamEvents, StreamDead), giveUp(StreamRaw, StreamEvents),
			lookAtConsumers(ConsumerEnricher, ConsumerExpander, ConsumerShipper),
			read(BucketState, BucketLedger, BucketQuota, BucketReplay), lookAt("KV_"+BucketSeen, "KV_"+BucketKnown), write(BucketState, ">"), write(BucketLedger, "plan.>"), write(BucketQuota, ">")),
		service("fetcher",
			[]string{rawPrefix + ">", markPrefix + ">", "job.*.retry.>", deadPrefix + "*.fetcher.>"},
			lookAt(StreamRaw), readAny(StreamRaw), consume(fetcherConsumers()...),
			read(BucketQuota, BucketLedger, BucketSeen, BucketState, BucketKnown), write(BucketQuota, ">"), write(BucketLedger, "read.>"),
			write(BucketSeen, ">"), write(BucketKnown, ">"), write(BucketState, "alarm.*.*.fetcher"), write(BucketState, "heartbeat.*.fetcher.>"), write(BucketState, "shape.>")),
		service("enricher",
			append(expansions(), eventPrefix+">", deadPrefix+"*.enricher.>"),
			consumeAll(StreamRaw), readAny(StreamEvents),
			read(BucketLedger, BucketKnown, BucketReplay, BucketState), write(BucketState, "alarm.*.*.enricher"), write(BucketState, "heartbeat.*.enricher.>"), write(BucketLedger, "made.>"), write(BucketLedger, "want.>"), write(BucketKnown, "*.attacked.>"), write(BucketReplay, ">")),
		service("shipper",
			[]string{deadPrefix + "*.shipper.>"},
			consumeAll(StreamEvents),
			read(BucketLedger, BucketState, BucketReplay), write(BucketLedger, "sent.>"), write(BucketState, "alarm.*.*.shipper"), write(BucketState, "heartbeat.*.shipper.>"), write(BucketReplay, ">")),
	}
}

// service makes the user of a stage. Its answers come to an inbox that no other user can
// listen to.
func service(name string, publish []string, more ...[]string) User {
	return User{name, append(publish, slices.Concat(more...)...), []string{inboxPrefix + name + ".>"}}
}

func fetcherConsumers() []Consumer {
	return slices.Concat([]Consumer{
		ConsumerFetcherLive, ConsumerFetcherSweep, ConsumerFetcherBackfill, ConsumerFetcherAside, ConsumerFetcherList, ConsumerFetcherExpand, ConsumerFetcherRetry,
	}, ForensicsConsumers(feed.CallThreatForensics), ForensicsConsumers(feed.CallCampaignForensics))
}

// expansions are the jobs that ids in records become.
func expansions() []string {
	var subjects []string
	for _, lane := range []string{job.Expand, job.Forensics1, job.Forensics2, job.Forensics3, job.Forensics4} {
		subjects = append(subjects, "job.*."+lane+".>")
	}
	return subjects
}

// lookAt lets a user see the settings and the size of streams.
func lookAt(streams ...string) []string {
	return prefixed("$JS.API.STREAM.INFO.", "", streams)
}

// readAny lets a user read single messages of streams, whatever their subject.
func readAny(streams ...string) []string {
	return slices.Concat(prefixed("$JS.API.DIRECT.GET.", "", streams), prefixed("$JS.API.DIRECT.GET.", ".>", streams))
}

// giveUp lets a user remove the history of streams. The server cannot bound how much: [Bus.GiveUp] does, so one user has
// this right and no other.
func giveUp(streams ...string) []string { return prefixed("$JS.API.STREAM.PURGE.", "", streams) }

// lookAtConsumers lets a user see how far consumers are.
func lookAtConsumers(consumers ...Consumer) []string {
	var subjects []string
	for _, c := range consumers {
		subjects = append(subjects, "$JS.API.CONSUMER.INFO."+c.Stream+"."+c.Name)
	}
	return subjects
}

// consume lets a user take messages from consumers and settle them. The second form of the
// subject of an ack is that of servers to come.
func consume(consumers ...Consumer) []string {
	subjects := lookAtConsumers(consumers...)
	for _, c := range consumers {
		at := c.Stream + "." + c.Name
		subjects = append(subjects, "$JS.API.CONSUMER.MSG.NEXT."+at, "$JS.ACK."+at+".>", "$JS.ACK.*.*."+at+".>")
	}
	return subjects
}

// consumeAll lets a user take messages from every consumer of a stream that is its alone.
func consumeAll(stream string) []string { return consume(Consumer{Stream: stream, Name: "*"}) }

// read lets a user read buckets.
func read(buckets ...string) []string {
	streams := prefixed("KV_", "", buckets)
	return append(lookAt(streams...), readAny(streams...)...)
}

// write lets a user write those keys of a bucket that a filter selects.
func write(bucket, filter string) []string { return []string{"$KV." + bucket + "." + filter} }

func prefixed(prefix, suffix string, names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = prefix + name + suffix
	}
	return out
}

// UsersConf is the part of a NATS server's configuration that makes the users, in an account
// of their own beside the system's. Passwords come from passwords.conf beside it, one
// line PASSWORD_<USER> = "..." for each user and for sys.
func UsersConf() string {
	var b strings.Builder
	b.WriteString(`# Who may do what. Made by "tapctl users" from pkg/bus/access.go: change it there.

include ./passwords.conf

accounts {
  SYS { users = [ { user: sys, password: $PASSWORD_SYS } ] }
  TAPLINE {
    jetstream: enabled
    users = [
`)
	for _, u := range Users() {
		fmt.Fprintf(&b, "      {\n        user: %s, password: $PASSWORD_%s\n        permissions {\n", u.Name, strings.ToUpper(u.Name))
		list(&b, "publish", u.Publish)
		list(&b, "subscribe", u.Subscribe)
		b.WriteString("        }\n      }\n")
	}
	b.WriteString("    ]\n  }\n}\nsystem_account: SYS\n")
	return b.String()
}

func list(b *strings.Builder, verb string, subjects []string) {
	fmt.Fprintf(b, "          %s: [\n", verb)
	for _, s := range subjects {
		fmt.Fprintf(b, "            %q\n", s)
	}
	b.WriteString("          ]\n")
}
