package tapsim

import (
	"strconv"
)

func (g generator) appendMessage(dst []byte, o origin, shuffle uint64) []byte {
	d := g.dice(o, forKind)
	stub := g.has(o, forStub, g.cfg.StubFraction)
	dst = strconv.AppendUint(append(dst, `{"spamScore":`...), d%101, 10)
	dst = strconv.AppendUint(append(dst, `,"phishScore":`...), d>>8%101, 10)
	dst = g.appendThreats(append(dst, `,"threatsInfoMap":`...), o, shuffle)
	dst = appendTime(append(dst, `,"messageTime":"`...), g.happened(o))
	dst = append(dst, `","impostorScore":0.0,"malwareScore":0,"cluster":"corpexample_hosted"`...)
	dst = append(append(dst, `,"subject":"`...), subjects[g.dice(o.group(), forText)%uint64(len(subjects))]...)
	dst = append(dst, `","quarantineFolder":null,"quarantineRule":null`...)
	if stub {
		dst = append(dst, `,"policyRoutes":null,"modulesRun":null,"messageSize":0,"headerFrom":null,"headerReplyTo":null,"fromAddress":null,"ccAddresses":[],"replyToAddress":[],"toAddresses":[],"xmailer":null,"messageParts":null`...)
	} else {
		dst = append(dst, `,"policyRoutes":["default_inbound","allow_relay"],"modulesRun":["av","zerohour","spf","dkimv","dmarc","spam","pdr","urldefense"],"messageSize":`...)
		dst = strconv.AppendUint(dst, 2000+d>>16%900_000, 10)
		dst = append(dst, `,"headerFrom":"=?UTF-8?Q?Accounts_D=C3=A9partement?= <accounts@sender.example>","headerReplyTo":null,"fromAddress":["accounts@sender.example"],"ccAddresses":[],"replyToAddress":[],"toAddresses":["`...)
		dst = g.appendRecipient(dst, o)
		dst = g.appendParts(append(dst, `"],"xmailer":null,"messageParts":`...), o, shuffle)
	}
	dst = append(dst, `,"completelyRewritten":true`...)
	if g.hasID(o) {
		dst = append(g.appendID(append(dst, `,"id":"`...), o), '"')
	}
	dst = appendHex(append(dst, `,"QID":"4`...), g.dice(o.group(), forText), 10)
	dst = g.appendGUID(append(dst, `","GUID":"`...), o)
	dst = append(dst, `","sender":"`...)
	if !stub {
		dst = append(appendHex(append(dst, "bounce+"...), g.dice(o.group(), forText), 12), "@[203.0.113.9]"...)
	}
	dst = g.appendRecipient(append(dst, `","recipient":["`...), o)
	dst = append(dst, `"],"senderIP":"203.0.113.`...)
	dst = strconv.AppendUint(dst, d>>40&255, 10)
	dst = append(dst, `","messageID":"`...)
	if !stub {
		dst = append(appendHex(append(dst, '<'), g.dice(o.group(), forGUID), 20), "@sender.example>"...)
	}
	dst = append(dst, '"')
	return append(g.appendOdd(dst, o), '}')
}

// appendThreats writes one or two threats, turned around in every other call.
func (g generator) appendThreats(dst []byte, o origin, shuffle uint64) []byte {
	n := g.threats(o)
	dst = append(dst, '[')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = g.appendThreat(dst, o, (i+shuffle)%n)
	}
	return append(dst, ']')
}

// threats is how many threats a record names.
func (g generator) threats(o origin) uint64 {
	if !g.feed(o).IsClick() && g.dice(o, forType)>>32%4 == 0 {
		return 2
	}
	return 1
}

func (g generator) appendThreat(dst []byte, o origin, i uint64) []byte {
	d, t := mix(g.dice(o.group(), forText)+i), g.threatOf(o, i)
	dst = append(append(dst, `{"threatID":"`...), g.threatID(t)...)
	dst = append(append(dst, `","threatStatus":"`...), g.status(o)...)
	dst = append(append(dst, `","classification":"`...), classes[d%uint64(len(classes))]...)
	dst = append(append(dst, `","detectionType":"NONE","threatUrl":"https://threatinsight.example/5b0c7f1e-2f60-4d0a-9a55-6f0f4c1d2e31/threat/email/`...), g.threatID(t)...)
	dst = appendTime(append(dst, `","threatTime":"`...), g.identified(t))
	dst = appendHex(append(dst, `","threat":"portal.example/login/`...), d, 12)
	dst = append(append(dst, `","campaignID":`...), g.campaign(o, t)...)
	dst = append(append(dst, `,"actors":[],"threatType":"`...), g.threatType(o)...)
	return append(dst, `"}`...)
}

// appendParts writes the parts of the message in an order that depends on the call.
func (g generator) appendParts(dst []byte, o origin, shuffle uint64) []byte {
	const n = 3
	dst = append(dst, '[')
	for i := range uint64(n) {
		if i > 0 {
			dst = append(dst, ',')
		}
		k := (i + shuffle) % n
		d := mix(g.dice(o.group(), forText) + 17*k)
		dst = append(append(dst, `{"disposition":"`...), dispositions[k]...)
		dst = appendHex(append(dst, `","sha256":"`...), d, 64)
		if k == 1 {
			dst = append(dst, `","md5":null,"filename":"`...)
		} else {
			dst = append(appendHex(append(dst, `","md5":"`...), d, 32), `","filename":"`...)
		}
		dst = append(dst, filenames[k]...)
		dst = append(append(dst, `","sandboxStatus":`...), sandbox[k]...)
		dst = append(append(dst, `,"oContentType":"`...), contents[k]...)
		dst = append(append(dst, `","contentType":"`...), contents[k]...)
		dst = append(dst, `"}`...)
	}
	return append(dst, ']')
}

var (
	dispositions = []string{"inline", "inline", "attached"}
	filenames    = []string{"text.txt", "text.html", "Rechnung März.xlsx"}
	sandbox      = []string{"null", `"NOT_SUPPORTED"`, `"THREAT"`}
	contents     = []string{"text/plain", "text/html", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}
)
