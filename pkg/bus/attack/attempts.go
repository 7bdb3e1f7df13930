package attack

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/tapline/tapline/pkg/bus"
)

// secret stands in every message that [Prepare] stores, with the name of the stream behind it.
const secret = "secret-of-"

// streams are all that there is to attack.
func streams() []string { return bus.Parts() }

// consumers are some of each stream, and one that does not exist.
func consumers() []string {
	return []string{
		"JOBS.fetcher-live", "JOBS.fetcher-expand", "JOBS.fetcher-threat-forensics-1", "RAW.enricher", "RAW.expander", "RAW.reprocess-x",
		"EVENTS.shipper", "EVENTS.replay-x", "DEAD.x",
	}
}

// wants are requests that would do harm, with the body that makes them do it.
func wants() map[string][]byte {
	out := map[string][]byte{}
	for _, s := range streams() {
		for _, verb := range []string{"INFO", "DELETE", "PURGE", "SNAPSHOT", "RESTORE", "LEADER.STEPDOWN", "PEER.REMOVE", "PEER.EVACUATE", "CANCEL_MOVE"} {
			out["$JS.API.STREAM."+verb+"."+s] = []byte(`{"deliver_subject":"` + inbox + `.x","peer":"x"}`)
		}
		out["$JS.API.STREAM.MSG.DELETE."+s] = []byte(`{"seq":1}`)
		out["$JS.API.STREAM.MSG.GET."+s] = []byte(`{"seq":1}`)
		out["$JS.API.DIRECT.GET."+s] = []byte(`{"seq":1,"batch":5}`)
		out["$JS.API.DIRECT.GET."+s+"."+example(s)] = nil
		out["$JS.API.STREAM.UPDATE."+s] = fmt.Appendf(nil, `{"name":%q,"subjects":[%q],"max_msgs":1,"allow_rollup_hdrs":true}`, s, example(s))
		out["$JS.API.STREAM.CREATE.mirror"+s] = fmt.Appendf(nil, `{"name":"mirror%s","mirror":{"name":%q}}`, s, s)
		out["$JS.API.STREAM.CREATE.source"+s] = fmt.Appendf(nil, `{"name":"source%s","sources":[{"name":%q}]}`, s, s)
		out["$JS.API.CONSUMER.LIST."+s], out["$JS.API.CONSUMER.NAMES."+s] = nil, nil
		push := fmt.Sprintf(`{"stream_name":%q,"config":{"deliver_subject":%q,"ack_policy":"none","durable_name":"p","name":"p"}}`, s, "$KV.QUOTA.main.siem")
		out["$JS.API.CONSUMER.CREATE."+s+".p"], out["$JS.API.CONSUMER.DURABLE.CREATE."+s+".p"] = []byte(push), []byte(push)
		out["$JS.API.CONSUMER.CREATE."+s] = fmt.Appendf(nil, `{"stream_name":%q,"config":{"deliver_subject":"`+inbox+`.x","ack_policy":"none"}}`, s)
	}
	for _, c := range consumers() {
		for _, verb := range []string{"INFO", "DELETE", "PAUSE", "UNPIN", "RESET", "LEADER.STEPDOWN"} {
			out["$JS.API.CONSUMER."+verb+"."+c] = []byte(`{"pause_until":"2099-01-01T00:00:00Z","seq":1}`)
		}
		out["$JS.API.CONSUMER.MSG.NEXT."+c] = []byte(`{"batch":3,"no_wait":true}`)
		for _, at := range []string{c, "_." + hashOfTapline + "." + c} {
			for seq := 1; seq <= 3; seq++ {
				out[fmt.Sprintf("$JS.ACK.%s.1.%d.%d.0.0", at, seq, seq)] = []byte("+ACK")
			}
		}
		out["$JS.ACK."+c+".EVENTS.1.1.0.0"], out["$JS.ACK."+c+".RAW.1.1.0.0"] = nil, []byte("+TERM")
		out["$JS.FC."+c+".x"] = nil
	}
	for _, s := range []string{
		"$JS.API.INFO", "$JS.API.STREAM.LIST", "$JS.API.STREAM.NAMES", "$JS.API.META.LEADER.STEPDOWN", "$JS.API.SERVER.REMOVE",
		"$JS.API.ACCOUNT.PURGE.TAPLINE", "$JS.API.ACCOUNT.STREAM.MOVE.TAPLINE.RAW", "$JS.API.META.RESCUE", "$JS.EVENT.ADVISORY.STREAM.DELETED.RAW",
		"$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.ACCOUNT.TAPLINE.CONNZ", "$SYS.REQ.USER.INFO", "$SYS.REQ.CLAIMS.UPDATE",
		"$SYS.REQ.SERVER.x.RELOAD", "$SYS.ACCOUNT.TAPLINE.CONNECT", "$SRV.PING", "$SRV.INFO", "$NRG.AE.x", "$JSC.R.x", "_R_.x.y", "_GR_.x.y.z", "$GR.x.y",
		"_INBOX_admin.x", "_INBOX_scheduler.x", "_INBOX_fetcher.x", "_INBOX_enricher.x", "_INBOX_shipper.x", "_INBOX.x", "trial.x.mark", "restore.x", "anything",
		"event.main.firewall.all", "event.main.mail.proofpoint", "dead.main.nobody.x.y", "$KV.OTHER.x", "$O.OTHER.C.x", "$MQTT.sub.x",
	} {
		out[s] = nil
	}
	for _, u := range bus.Users()[1:] {
		for _, pattern := range u.Publish() {
			if s := concrete(pattern); out[s] == nil {
				out[s] = []byte("forged")
			}
		}
	}
	return out
}

// hashOfTapline is how servers spell the account TAPLINE in the second form of the subject of an
// ack.
const hashOfTapline = "MPQSSCvO"

// example is a subject of a stream that has a message, see [Prepare].
func example(stream string) string {
	return map[string]string{
		"JOBS": "job.main.live.siem.x", "RAW": "raw.main.clicksBlocked", "EVENTS": "event.main.mail.proofpoint.tap_people.vap",
		"DEAD": "dead.main.fetcher.clicksBlocked.x", "KV_QUOTA": "$KV.QUOTA.main.siem", "KV_LEDGER": "$KV.LEDGER.read.main.x", "KV_SEEN": "$KV.SEEN.main.x",
		"KV_STATE": "$KV.STATE.main.siem", "KV_KNOWN": "$KV.KNOWN.main.x", "KV_REPLAY": "$KV.REPLAY.main.x",
	}[stream]
}

func concrete(pattern string) string {
	return strings.NewReplacer("*", "x", ">", "x.y").Replace(pattern)
}

// replies are subjects to which an answer must not go.
func replies(own string) []string {
	out := []string{
		"", own, "$JS.API.STREAM.PURGE.EVENTS", "$JS.API.STREAM.DELETE.DEAD", "$JS.API.CONSUMER.DELETE.RAW.enricher", "$JS.API.CONSUMER.MSG.NEXT.RAW.enricher",
		"$JS.ACK.RAW.enricher.1.1.1.0.0", "$JS.ACK.EVENTS.shipper.1.1.1.0.0", "$JS.ACK.JOBS.fetcher-live.1.1.1.0.0", "_INBOX_admin.x", "$SYS.REQ.SERVER.PING",
		"_R_.x", "$JS.API.STREAM.CREATE.x",
	}
	for _, s := range streams() {
		out = append(out, example(s))
	}
	return out
}

// headers are what a message may say to the server.
func headers() []nats.Header {
	h := func(pairs ...string) nats.Header {
		out := nats.Header{}
		for pair := range slices.Chunk(pairs, 2) {
			out.Set(pair[0], pair[1])
		}
		return out
	}
	return []nats.Header{
		nil, h("Nats-Rollup", "all"), h("Nats-Rollup", "sub"), h("Nats-Msg-Id", "x"), h("Nats-TTL", "1s"), h("Nats-TTL", "never"),
		h("Nats-Expected-Last-Sequence", "1"), h("Nats-Expected-Stream", "RAW"), h("Nats-Expected-Last-Subject-Sequence", "0", "Nats-Expected-Last-Subject-Sequence-Subject", ">"),
		h("Nats-Schedule", "@at 2020-01-01T00:00:00Z", "Nats-Schedule-Target", "$KV.QUOTA.main.siem"), h("Nats-Schedule-Next", "purge"),
		h("Nats-Batch-Id", "x", "Nats-Batch-Sequence", "1"), h("Nats-Batch-Id", "x", "Nats-Batch-Sequence", "2", "Nats-Batch-Commit", "1"),
		h("Nats-Incr", "+1"), h("KV-Operation", "PURGE"), h("KV-Operation", "DEL"), h("Nats-Request-Info", `{"acc":"TAPLINE","svc":"TAPLINE","user":"admin"}`),
		h("Nats-Trace-Dest", "$KV.QUOTA.main.siem"), h("Nats-Trace-Dest", "$JS.API.STREAM.PURGE.EVENTS", "Nats-Trace-Only", "true"), h("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "Nats-Trace-Dest", "raw.main.clicksBlocked"),
		h("Nats-Required-Api-Level", "99"), h("Nats-Pin-Id", "x"), h("Nats-Marker-Reason", "Purge"), h("Nats-Stream-Source", "RAW 1"), h("Nats-Msg-Size", "0"),
		h("Nats-Subject", "$KV.QUOTA.main.siem"), h("Nats-Stream", "RAW", "Nats-Sequence", "1", "Nats-Time-Stamp", "x"), h("Nats-Last-Sequence", "1", "Nats-Num-Pending", "1"),
		h("Status", "404"), h("Status", "503"), h("Status", "204", "Nats-Num-Pending", "1", "Nats-Last-Sequence", "1"),
	}
}

// listens are subjects to which a user must not listen.
func listens() []string {
	out := []string{">", "*", "*.>", "_INBOX_admin.>", "_INBOX.>", "_R_.>", "_GR_.>", "$JS.>", "$KV.>", "$SYS.>", "$SRV.>", "raw.>", "job.>", "event.>", "dead.>", "$JSC.>", "$NRG.>"}
	for _, u := range bus.Users()[1:] {
		out = append(out, u.Subscribe()...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
