package tapsim

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// summary is what is known of one threat.
func (s *Sim) summary(id string, now time.Time) ([]byte, int) {
	g := s.gen
	t, ok := g.findThreat(id, now)
	if !ok {
		return nil, http.StatusNotFound
	}
	d := g.threatDice(t, 4)
	out := []byte(`{"id":"` + id + `","identifiedAt":"`)
	out = appendTime(out, g.identified(t))
	out = append(out, `","name":"portal.example/login/`...)
	out = appendHex(out, d, 12)
	out = append(out, `","type":"`+types[d%3]+`","category":"`+classes[d%3]+`","status":"`+g.statusAt(t, now.Unix()/3600)+`"`...)
	if d>>8%3 > 0 { // missing now and then
		out = append(out, `,"detectionType":"NONE"`...)
	}
	names := [3]string{"severity", "verticals", "geographies"} // the live names are not agreed on
	if d>>12%2 == 0 {
		names = [3]string{"severityScore", "verticallyTargeted", "geoTargeted"}
	}
	out = strconv.AppendUint(append(out, `,"`+names[0]+`":`...), d>>16%1000, 10)
	out = strconv.AppendUint(append(out, `,"attackSpread":`...), d>>24%500, 10)
	out = append(out, `,"notable":false,"`+names[1]+`":false,"`+names[2]+`":true,"actors":[],"families":[{"id":"11a5c9d2-60be-4d1a-9c33-7f52b0e8d416","name":"Downloader"}],"malware":[],"techniques":[],"brands":[]}`...)
	return out, http.StatusOK
}

// campaign is the detail of one campaign; it grows.
func (s *Sim) campaign(id string, now time.Time) ([]byte, int) {
	d, ok := s.gen.findCampaign(id, now)
	if !ok {
		return nil, http.StatusNotFound
	}
	out := []byte(`{"id":"` + id + `","name":"Sample | Macro Attachments | ` + d.start.Format("2 January 2006") +
		`","description":"Remittance themed mail.\r\n\r\nExample subjects:\r\n- Remittance advice <b>55120</b>","startDate":"`)
	out = append(appendTime(out, d.start), `","notable":false,"actors":[{"id":"7e4a1f0c-3b6d-4c85-8f1e-2a90b7d5c3e1","name":"TA9001"}],"families":[],"malware":[],"techniques":[],"brands":[],"campaignMembers":[`...)
	for i, m := range d.members {
		if i > 0 {
			out = append(out, ',')
		}
		threat := s.gen.threatID(m.threat)
		out = append(out, `{"id":"`+threat+`","threat":"`+threat+`","threatStatus":"active","type":"attachment","subType":"ATTACHMENT","threatTime":"`...)
		out = append(appendTime(out, s.gen.identified(m.threat)), `"}`...)
	}
	return append(out, "]}"...), http.StatusOK
}

// forensics is the report of a threat or of a campaign.
func (s *Sim) forensics(q url.Values, now time.Time) ([]byte, int) {
	id, scope, extra := q.Get("threatId"), "THREAT", `,"threatStatus":"active"`
	t, found := s.gen.findThreat(id, now)
	if strings.EqualFold(q.Get("includeCampaignForensics"), "true") && found {
		if c, linked, ok := s.gen.campaignOf(t); ok && !linked.After(now) {
			id, scope, extra = s.gen.campaignID(c), "CAMPAIGN", ""
		}
	}
	if q.Has("campaignId") {
		if q.Has("threatId") || q.Has("includeCampaignForensics") {
			return nil, http.StatusBadRequest
		}
		id, scope, extra = q.Get("campaignId"), "CAMPAIGN", ""
		_, found = s.gen.findCampaign(id, now)
	}
	switch {
	case id == "":
		return nil, http.StatusBadRequest
	case !found:
		return nil, http.StatusNotFound
	}
	out := []byte(`{"generated":"` + now.Format("2006-01-02T15:04:05.000Z") + `","reports":[{"scope":"` + scope + `","id":"` + id + `","name":"` + id + `"` + extra + `,"forensics":[`)
	for i := range s.gen.pieces(id) {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendEvidence(out, mix(fromHex(id)+uint64(i)), i)
	}
	return append(out, "]}]}"...), http.StatusOK
}

// pieces is how much evidence there is about something; there may be none.
func (g generator) pieces(id string) int {
	return int(mix(fromHex(id)+g.cfg.Seed) % uint64(g.cfg.Evidence+1))
}

// evidences are shapes of evidence, also of types that no documentation has.
var evidences = []string{
	`{"type":"attachment","display":"Attachment with SHA-256: %","engine":"av","malicious":true,"note":"seen","time":0,"what":{"sha256":"%","md5":null,"blacklisted":1,"offset":0,"rule":"Av","size":92160},"platforms":[{"name":"pps","os":"pps"}]}`,
	`{"type":"behavior","display":"Macro starts a child process","engine":"iee","what":{"rule":"behavior_%"},"platforms":[{"name":"Win10","os":"win","version":"win10"}]}`,
	`{"type":"dns","display":"DNS lookup of host: %.example","engine":"iee","malicious":true,"time":0,"what":{"host":"%.example","ips":["203.0.113.9"],"cnames":[],"nameservers":[]},"platforms":[]}`,
	`{"type":"network","display":"TCP connection","engine":"iee","malicious":true,"time":0,"what":{"ip":"203.0.113.9","port":443},"platforms":[{"name":"Windows 7","os":"win","version":"win7"}]}`,
	`{"type":"url","display":"URL..","engine":"iee","malicious":true,"time":0,"what":{"url":"https://portal.example/%","blacklisted":true,"httpStatus":200},"platforms":[]}`,
	`{"type":"registry","display":"Registry value set","engine":"iee","malicious":true,"time":0,"what":{"action":"set","key":"HKCU\\Software\\Run","name":"%","value":"rundll32.exe u.dll,Run"},"platforms":[]}`,
	`{"type":"redirect_chain","display":"Redirect chain","what":{"url":"https://short.example/%","size":123456789012345678901}}`,
	`{"type":"new_kind_of_%","display":null,"what":{"a.key.with.dots":{},"list":[],"deep":{"n":1.0,"e":1e400}},"platforms":null}`,
}

func appendEvidence(dst []byte, d uint64, i int) []byte {
	for _, c := range []byte(evidences[(d+uint64(i))%uint64(len(evidences))]) {
		if c == '%' {
			dst = appendHex(dst, d, 16)
			continue
		}
		dst = append(dst, c)
	}
	return dst
}
