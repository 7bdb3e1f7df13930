package tapsim

import (
	"strconv"
	"time"
)

const hexDigits = "0123456789abcdef"

func appendHex(dst []byte, d uint64, digits int) []byte {
	for range digits {
		dst = append(dst, hexDigits[d&15])
		d = d>>4 | d<<60
	}
	return dst
}

func (g generator) appendID(dst []byte, o origin) []byte {
	a, b := g.dice(o, forID), mix(g.dice(o, forID))
	dst = append(appendHex(dst, a, 8), '-')
	dst = append(appendHex(dst, a>>32, 4), '-')
	dst = append(appendHex(dst, a>>48, 4), '-')
	dst = append(appendHex(dst, b, 4), '-')
	return appendHex(dst, b>>16, 12)
}

func (g generator) appendGUID(dst []byte, o origin) []byte {
	const letters = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789-_ABCD"
	for d, n := g.dice(o.group(), forGUID), 0; n < 32; n++ {
		dst = append(dst, letters[d>>58])
		d = mix(d + 1)
	}
	return dst
}

// appendRecipient: the number within the group keeps recipients of one message apart.
func (g generator) appendRecipient(dst []byte, o origin) []byte {
	dst = append(dst, recipients[g.dice(o, forRecipient)%uint64(len(recipients))]...)
	dst = strconv.AppendInt(dst, int64(o.index%perGUID), 10)
	return append(dst, "@corp.example"...)
}

var (
	recipients = []string{"h.lind", "ap", "j.o'neil", "m.garcía", "n.müller", "sales.team", "it-support", "y.tanaka"}
	subjects   = []string{
		"Invoice 20931 is overdue", "Your parcel could not be delivered", "Überfällige Rechnung – bitte prüfen", "パスワードの有効期限が切れます",
		`Re: \"final\" contract \u2013 please sign`, "Payroll update required today", "Shared document: Q3 plan.xlsx", "Voicemail from +1 202 555 0143",
	}
	classes = []string{"phish", "malware", "spam", "impostor", "toad"}
	agents  = []string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148",
	}
)

func appendTime(dst []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
}

// append writes the record as JSON. shuffle turns the order of parts, which is
// different in every call.
func (g generator) append(dst []byte, o origin, shuffle uint64) []byte {
	if g.has(o, forMalformed, g.cfg.MalformedFraction) {
		dst = append(dst, `{"id":"`...)
		return append(g.appendID(dst, o), `","spamScore":01}`...)
	}
	if g.feed(o).IsClick() {
		return g.appendClick(dst, o)
	}
	return g.appendMessage(dst, o, shuffle)
}

func (g generator) appendClick(dst []byte, o origin) []byte {
	d, t := g.dice(o, forKind), g.threatOf(o, 0)
	dst = append(dst, `{"url":"https://portal.example/`...)
	dst = appendHex(dst, g.dice(o.group(), forText), 24)
	dst = append(append(dst, `?x=%7B\"a\"%7D","classification":"`...), classes[d%3]...)
	dst = appendTime(append(dst, `","clickTime":"`...), g.happened(o))
	dst = appendTime(append(dst, `","threatTime":"`...), g.identified(t))
	dst = append(append(dst, `","userAgent":"`...), agents[d>>8&1]...)
	dst = append(append(dst, `","campaignId":`...), g.campaign(o, t)...)
	dst = g.appendID(append(dst, `,"id":"`...), o)
	dst = append(dst, `","clickIP":"192.0.2.`...)
	dst = strconv.AppendUint(dst, d>>24&255, 10)
	dst = appendHex(append(dst, `","sender":"`...), g.dice(o.group(), forText), 16)
	dst = g.appendRecipient(append(dst, `@sender.example","recipient":"`...), o)
	dst = g.appendGUID(append(dst, `","senderIP":"198.51.100.7","GUID":"`...), o)
	dst = append(append(dst, `","threatID":"`...), g.threatID(t)...)
	dst = append(append(dst, `","threatURL":"https://threatinsight.example/5b0c7f1e/threat/email/`...), g.threatID(t)...)
	dst = append(append(dst, `","threatStatus":"`...), g.status(o)...)
	dst = appendHex(append(dst, `","messageID":"<`...), g.dice(o.group(), forGUID), 16)
	dst = append(dst, `@sender.example>"`...)
	return append(g.appendOdd(dst, o), '}')
}

// appendOdd adds what a strict reader would stumble over.
func (g generator) appendOdd(dst []byte, o origin) []byte {
	if !g.has(o, forOdd, g.cfg.OddFraction) {
		return dst
	}
	return append(dst, `,"extraScore":123456789012345678901,"extraRatio":1.0,"extraNested":{"b":[1e400,-0,{"a":null}],"a":"\u00e9\ud83d\ude80"},"extraEmpty":{}`...)
}

// Natural keys, as the truth names them.

func (g generator) appendKey(dst []byte, o origin) []byte {
	if g.hasID(o) {
		return g.appendID(append(dst, "id:"...), o)
	}
	dst = append(g.appendGUID(append(dst, "guid:"...), o), '|')
	return g.appendRecipient(dst, o)
}

// RevisedCampaign is the campaign of every record that was revised.
const RevisedCampaign = "c1a7e2f4-3b58-4d96-9e0d-6a2f8b7c4d13"
