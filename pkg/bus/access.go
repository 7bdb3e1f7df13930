package bus

import (
	"slices"
	"strings"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
)

// Right is one thing that a user may do: subjects on which it may publish. Wherever such a request
// may name a subject for the answer, [UsersConf] sees to it that the answer reaches the user and
// nothing else.
type Right struct {
	Does     string // verb and object, for the table of docs/security.md
	Subjects []string
}

// User is one user of the NATS server and what it may do there.
type User struct {
	Name   string
	Rights []Right
}

// Users of people. The others are those of the stages.
const (
	// UserAdmin may do everything to the streams: it makes them and restores them.
	UserAdmin = "admin"
	// UserViewer reads everything and changes nothing.
	UserViewer = "viewer"
	// UserOperator also does what an operator does every day, and makes neither streams, consumers
	// nor records.
	UserOperator = "operator"
)

// Users lists all users in flow order, each with what its work takes and nothing beyond: a
// service that falls into wrong hands cannot do the work of another one, nor take a stream
// away. Streams, consumers and buckets are made by the admin.
func Users() []User {
	return []User{
		{UserAdmin, []Right{{Does: "do everything to streams, consumers and buckets", Subjects: []string{">"}}}},
		service("scheduler",
			publish("plan jobs", lanes(job.Live, job.Sweep, job.Backfill, job.Aside, job.List)...),
			look(StreamJobs, StreamRaw, StreamEvents, StreamDead), read(StreamRaw, StreamEvents, StreamDead), giveUp(StreamRaw, StreamEvents),
			lookAtConsumers(ConsumerEnricher, ConsumerExpander, ConsumerShipper),
			look(bucketStreams(BucketState, BucketLedger, BucketQuota, BucketReplay, BucketSeen, BucketKnown)...),
			read(bucketStreams(BucketState, BucketLedger, BucketQuota, BucketReplay)...),
			write(BucketState, ">"), write(BucketLedger, "plan.>"), write(BucketQuota, ">")),
		service("fetcher",
			publish("store records and markers", rawPrefix+">", markPrefix+">"), publish("order retries", lanes(job.Retry)...), storeDeadLetters("fetcher"),
			look(StreamRaw), read(StreamRaw), consume(fetcherConsumers()...),
			look(bucketStreams(BucketQuota, BucketLedger, BucketSeen, BucketState, BucketKnown)...),
			read(bucketStreams(BucketQuota, BucketLedger, BucketSeen, BucketState, BucketKnown)...),
			write(BucketQuota, ">"), write(BucketLedger, "read.>"), write(BucketSeen, ">"), write(BucketKnown, ">"),
			write(BucketState, "alarm.*.*.fetcher", "heartbeat.*.fetcher.>", "shape.>")),
		service("enricher",
			publish("order answers about ids", lanes(job.Expand, job.Forensics1, job.Forensics2, job.Forensics3, job.Forensics4)...),
			publish("store rows of the tables there are", tables()...), storeDeadLetters("enricher"),
			consumeAll(StreamRaw), read(StreamEvents),
			look(bucketStreams(BucketLedger, BucketKnown, BucketReplay, BucketState)...), read(bucketStreams(BucketLedger, BucketKnown, BucketReplay, BucketState)...),
			write(BucketState, "alarm.*.*.enricher", "heartbeat.*.enricher.>"), write(BucketLedger, "made.>", "want.>"),
			write(BucketKnown, "*.attacked.>"), write(BucketReplay, ">")),
		service("shipper",
			storeDeadLetters("shipper"), consumeAll(StreamEvents),
			look(bucketStreams(BucketLedger, BucketState, BucketReplay)...), read(bucketStreams(BucketLedger, BucketState, BucketReplay)...),
			write(BucketLedger, "sent.>"), write(BucketState, "alarm.*.*.shipper", "heartbeat.*.shipper.>"), write(BucketReplay, ">")),
		service(UserViewer, view()...),
		service(UserOperator, append(view(), act()...)...),
	}
}

// view is what commands take that only look. Nothing of it leaves a trace on the server: no
// consumer, no snapshot.
func view() []Right {
	streams, buckets := []string{StreamJobs, StreamRaw, StreamEvents, StreamDead}, bucketStreams(BucketState, BucketLedger, BucketQuota, BucketReplay, BucketSeen, BucketKnown)
	return []Right{
		look(streams...), read(streams...), look(buckets...), read(buckets...),
		{Does: "ask the leaders of " + strings.Join(streams, ", "), Subjects: around("$JS.API.STREAM.MSG.GET.", streams, "")},
		{Does: "look at all consumers", Subjects: around("$JS.API.CONSUMER.INFO.", streams, ".*")},
	}
}

// act is what an operator changes: dead letters, pools, replays that there are, and the plan by a
// request to retry. Who may make a consumer may read and overwrite everything, and who may store
// records forges rows: both are left to the admin.
func act() []Right {
	var known []string
	for _, call := range []feed.Call{feed.CallThreat, feed.CallCampaign, feed.CallThreatForensics, feed.CallCampaignForensics} {
		known = append(known, "*."+string(call)+".>")
	}
	return []Right{
		{Does: "take dead letters away", Subjects: []string{"$JS.API.STREAM.MSG.DELETE." + StreamDead}},
		publish("request ids once more", lanes(job.Retry, job.Forensics1, job.Forensics2, job.Forensics3, job.Forensics4)...), write(BucketKnown, known...),
		write(BucketState, "retry.>"), write(BucketQuota, ">"), write(BucketReplay, ">"),
	}
}

// service makes the user of a stage. The sums of the account are in it because of the server: an
// account that does not import them gets an import of the whole API from it, which then answers
// beside ours that there are no streams.
func service(name string, rights ...Right) User {
	return User{name, append(rights, publish("see how much all streams take", "$JS.API.INFO"))}
}

// permits reports whether a user of that name may publish on a subject, as far as is known here:
// other servers have other users.
func permits(user, subject string) bool {
	for _, u := range Users() {
		if u.Name == user {
			return slices.ContainsFunc(u.Publish(), func(pattern string) bool { return covers(pattern, subject) })
		}
	}
	return true
}

// covers reports whether a pattern covers a subject.
func covers(pattern, subject string) bool {
	want, have := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, token := range want {
		switch {
		case token == ">":
			return len(have) > i
		case i >= len(have) || (token != "*" && token != have[i]):
			return false
		}
	}
	return len(want) == len(have)
}

// Publish lists the subjects on which a user may publish.
func (u User) Publish() []string {
	var subjects []string
	for _, r := range u.Rights {
		subjects = append(subjects, r.Subjects...)
	}
	return subjects
}

// Subscribe lists the subjects to which a user may listen: its own answers. No other user can
// listen to them.
func (u User) Subscribe() []string {
	if u.Name == UserAdmin {
		return []string{">"}
	}
	return []string{inboxPrefix + u.Name + ".>"}
}

func publish(does string, subjects ...string) Right { return Right{Does: does, Subjects: subjects} }

func lanes(names ...string) []string { return around("job.*.", names, ".>") }

// tables are those of the product. A row for another one would reach a table of the customer that
// Tapline has no business with.
func tables() []string {
	var names []string
	for _, f := range feed.All() {
		names = append(names, f.Table())
	}
	return around(eventPrefix+"*.", names, "")
}

// storeDeadLetters lets a stage store dead letters of its own.
func storeDeadLetters(stage string) Right {
	return publish("store dead letters of the "+stage, deadPrefix+"*."+stage+".>")
}

func fetcherConsumers() []Consumer {
	return slices.Concat([]Consumer{
		ConsumerFetcherLive, ConsumerFetcherSweep, ConsumerFetcherBackfill, ConsumerFetcherAside, ConsumerFetcherList, ConsumerFetcherExpand, ConsumerFetcherRetry,
	}, ForensicsConsumers(feed.CallThreatForensics), ForensicsConsumers(feed.CallCampaignForensics))
}

// look lets a user see the settings, the size and the subjects of streams.
func look(streams ...string) Right {
	return Right{Does: "look at " + strings.Join(streams, ", "), Subjects: around("$JS.API.STREAM.INFO.", streams, "")}
}

// read lets a user read messages of streams, whatever their subject.
func read(streams ...string) Right {
	return Right{
		Does:     "read " + strings.Join(streams, ", "),
		Subjects: slices.Concat(around("$JS.API.DIRECT.GET.", streams, ""), around("$JS.API.DIRECT.GET.", streams, ".>")),
	}
}

// giveUp lets a user remove the history of streams. The server cannot bound how much: [Bus.GiveUp]
// does, so one user has this right and no other.
func giveUp(streams ...string) Right {
	return Right{Does: "purge " + strings.Join(streams, ", "), Subjects: around("$JS.API.STREAM.PURGE.", streams, "")}
}

// lookAtConsumers lets a user see how far consumers are.
func lookAtConsumers(consumers ...Consumer) Right {
	names := paths(consumers)
	return Right{Does: "look at consumers " + strings.Join(names, ", "), Subjects: around("$JS.API.CONSUMER.INFO.", names, "")}
}

// acks begin the subjects of acks: today's, and those of servers to come, which name domain and
// account before the stream. No wildcard may stand before the stream: $JS.ACK.*.*.EVENTS.> is also
// an ack of any other stream.
func acks(names []string) []string {
	return append(around("$JS.ACK.", names, ".>"), around("$JS.ACK._."+accountHash+".", names, ".>")...)
}

// consume lets a user take messages from consumers and ack them.
func consume(consumers ...Consumer) Right {
	names := paths(consumers)
	return Right{
		Does:     "take and acknowledge messages of consumers " + strings.Join(names, ", "),
		Subjects: slices.Concat(around("$JS.API.CONSUMER.INFO.", names, ""), around("$JS.API.CONSUMER.MSG.NEXT.", names, ""), acks(names)),
	}
}

// consumeAll lets a user take messages from every consumer of a stream that is its alone: orders to
// replay have one each.
func consumeAll(stream string) Right { return consume(Consumer{Stream: stream, Name: "*"}) }

// write lets a user write those keys of a bucket that filters select.
func write(bucket string, filters ...string) Right {
	return Right{Does: "write " + bucket + " " + strings.Join(filters, ", "), Subjects: around("$KV."+bucket+".", filters, "")}
}

func bucketStreams(names ...string) []string { return around("KV_", names, "") }

func paths(consumers []Consumer) []string {
	var names []string
	for _, c := range consumers {
		names = append(names, c.Stream+"."+c.Name)
	}
	return names
}

func around(prefix string, names []string, suffix string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = prefix + name + suffix
	}
	return out
}
