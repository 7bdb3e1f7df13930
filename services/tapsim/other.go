package tapsim

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/tapline/tapline/pkg/feed"
)

// other answers everything but SIEM endpoints.
func (s *Sim) other(w http.ResponseWriter, r *http.Request, hit *Fault) {
	now, query := s.Now(), r.URL.Query()
	last := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	switch path := r.URL.Path; {
	case path == "/v2/campaign/ids":
		s.limited(w, r, feed.PoolCampaignIDs, hit, func() ([]byte, int) { return s.campaignIDs(query, now) })
	case path == "/v2/people/vap":
		s.limited(w, r, feed.PoolPeopleVAP, hit, func() ([]byte, int) { return s.people(feed.CallVAP, query, now) })
	case path == "/v2/people/top-clickers":
		s.limited(w, r, feed.PoolPeopleTopClickers, hit, func() ([]byte, int) { return s.people(feed.CallTopClickers, query, now) })
	case path == "/v2/forensics" && query.Has("campaignId"):
		s.limited(w, r, feed.PoolForensicsCampaign, hit, func() ([]byte, int) { return s.forensics(query, now) })
	case path == "/v2/forensics":
		s.limited(w, r, feed.PoolForensicsThreat, hit, func() ([]byte, int) { return s.forensics(query, now) })
	case strings.HasPrefix(path, "/v2/threat/summary/"):
		body, status := s.summary(last, now)
		s.reply(w, r, hit, body, status)
	case strings.HasPrefix(path, "/v2/campaign/"):
		body, status := s.campaign(last, now)
		s.reply(w, r, hit, body, status)
	default:
		fail(w, http.StatusNotFound, "")
	}
}

// limited answers under the throttle of a pool.
func (s *Sim) limited(w http.ResponseWriter, r *http.Request, pool feed.Pool, hit *Fault, answer func() ([]byte, int)) {
	ok, wait := s.admit(pool, s.Now())
	if !ok {
		s.tooMany(w, wait)
		return
	}
	body, status := answer()
	if status == http.StatusBadRequest {
		s.release(pool)
	}
	s.reply(w, r, hit, body, status)
}

func (s *Sim) tooMany(w http.ResponseWriter, wait time.Duration) {
	if s.cfg.RetryAfter {
		w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())+1))
	}
	fail(w, http.StatusTooManyRequests, "")
}

// reply sends a body that is made already.
func (s *Sim) reply(w http.ResponseWriter, r *http.Request, hit *Fault, body []byte, status int) {
	if status != http.StatusOK {
		fail(w, status, string(body))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Vary", "Accept-Encoding, User-Agent")
	body = mangle(body, hit)
	if hit != nil && hit.Kind == FaultCutJSON {
		body = body[:len(body)*2/3]
	}
	if hit != nil && hit.Kind == FaultTruncated {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body[:len(body)*2/3]) //nolint:gosec // JSON, and for testers
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		_, _ = w.Write(body) //nolint:gosec // JSON, and for testers
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	z, _ := gzips.Get().(*gzip.Writer)
	defer gzips.Put(z)
	z.Reset(w)
	_, _ = z.Write(body)
	_ = z.Close()
}

// mangle plays the faults that change a body as a whole. It knows the arrays by their names.
func mangle(body []byte, hit *Fault) []byte {
	if hit.is(FaultError) {
		return fmt.Appendf(nil, `{"error":%q}`, cmp.Or(hit.Text, "backend partially unavailable"))
	}
	for _, name := range []string{"campaigns", "users", "reports", "campaignMembers"} {
		start := bytes.Index(body, []byte(`"`+name+`":[`))
		if start < 0 || !hit.array(name, true) {
			continue
		}
		switch hit.Kind {
		case FaultRenamed: // there is one array with each of these names
			return bytes.Replace(body, []byte(name), []byte(strings.ToUpper(name[:1])+name[1:]), 1)
		case FaultNoArray, FaultNoArrays:
			return append(body[:start:start], `"other":{}}`...)
		}
	}
	return body
}

// pageOf reads page and size; ok is false when they are not usable.
func pageOf(q url.Values, size, most int) (page, perPage int, ok bool) {
	read := func(name string, usual int) int {
		if !q.Has(name) {
			return usual
		}
		n, err := strconv.Atoi(q.Get(name))
		if err != nil {
			return 0
		}
		return n
	}
	page, perPage = read("page", 1), read("size", size)
	return page, perPage, page >= 1 && perPage >= 1 && perPage <= most
}

// cut takes a page out of a list.
func cut[T any](list []T, page, size int) []T {
	from := min((page-1)*size, len(list))
	return list[from:min(from+size, len(list))]
}

func (s *Sim) campaignIDs(q url.Values, now time.Time) ([]byte, int) {
	from, to, err := parseInterval(q.Get("interval"))
	page, size, fine := pageOf(q, 100, 200)
	switch {
	case err != nil || !fine || to.Before(from):
		return nil, http.StatusBadRequest
	case to.Sub(from) < minSpan:
		return fmt.Appendf(nil, tooShort, minSpan.Seconds()), http.StatusBadRequest
	case to.Sub(from) > 24*time.Hour:
		return []byte("The requested interval is too long. Requests must be for at most 1.00d of data"), http.StatusBadRequest
	case to.After(now):
		return []byte(stillCurrent), http.StatusBadRequest
	}
	all := slices.DeleteFunc(s.gen.active(from, to, now), func(d detail) bool { return d.updated.Before(s.epoch.Add(-24 * time.Hour)) })
	list := cut(all, page, size)
	if len(list) == 0 && s.cfg.Empty404 {
		return nil, http.StatusNotFound
	}
	out := []byte(`{"campaigns":[`)
	for i, d := range list {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(out, `{"id":"`...), d.id...)
		out = append(appendTime(append(out, `","lastUpdatedAt":"`...), d.updated), `"}`...)
	}
	return append(out, "]}"...), http.StatusOK
}

// person is one user of a list.
type person struct {
	number, index int
}

func (s *Sim) list(call feed.Call, days int, now time.Time) []person {
	list := make([]person, s.cfg.People*days/14)
	for i := range list {
		d := mix(s.cfg.Seed + uint64(i)*scrambler + uint64(days))
		index := 200 + int(d%1500)
		if d>>20%4 == 0 { // the figures of a quarter of them change from day to day
			index += int(mix(d+uint64(now.Unix()/86400)) % 100)
		}
		if d>>24%10 == 0 { // and of some within a day
			index += int(mix(d+uint64(now.Unix()/21600)) % 10)
		}
		if call == feed.CallTopClickers {
			index = 1 + index/100
		}
		list[i] = person{i, index}
	}
	slices.SortStableFunc(list, func(a, b person) int { return b.index - a.index })
	return list
}

// guid of a person.
func (p person) guid(seed uint64) string {
	x := mix(seed + uint64(p.number) + 77)
	h := string(appendHex(appendHex(nil, x, 16), mix(x), 16))
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// email of a person: those with the lowest numbers are the recipients of records.
func (p person) email() string {
	if p.number < perGUID*len(recipients) {
		return recipients[p.number/perGUID] + strconv.Itoa(p.number%perGUID) + "@corp.example"
	}
	return "user" + strconv.Itoa(p.number) + "@corp.example"
}

func (s *Sim) people(call feed.Call, q url.Values, now time.Time) ([]byte, int) {
	usual, most := 1000, 1000
	if call == feed.CallTopClickers {
		usual, most = 100, 200
	}
	page, size, ok := pageOf(q, usual, most)
	if days := q.Get("window"); !ok || !slices.Contains([]string{"14", "30", "90"}, days) {
		return nil, http.StatusBadRequest
	}
	days, _ := strconv.Atoi(q.Get("window"))
	list := s.list(call, days, now)
	out := []byte(`{"users":[`)
	for i, p := range cut(list, page, size) {
		if i > 0 {
			out = append(out, ',')
		}
		out = s.appendPerson(out, call, p)
	}
	out = append(out, "],"...)
	if call == feed.CallTopClickers {
		out = strconv.AppendInt(append(out, `"totalTopClickers":`...), int64(len(list)), 10)
		now = now.Truncate(time.Minute)
	} else {
		out = strconv.AppendInt(append(out, `"totalVapUsers":`...), int64(len(list)), 10)
		out = append(out, `,"averageAttackIndex":412.6183,"vapAttackIndexThreshold":1108.2247`...)
	}
	const form = "2006-01-02T15:04:05Z"
	out = append(out, `,"interval":"`+now.AddDate(0, 0, -days).Format(form)+"/"+now.Format(form)+`"}`...)
	return out, http.StatusOK
}

func (s *Sim) appendPerson(out []byte, call feed.Call, p person) []byte {
	out = append(out, `{"identity":{"guid":"`+p.guid(s.cfg.Seed)+`","customerUserId":null,"emails":["`+p.email()+`"],"name":null,"department":null,"location":null,"title":null,"vip":`...)
	out = strconv.AppendBool(out, p.number%7 == 0)
	if call == feed.CallTopClickers {
		out = strconv.AppendInt(append(out, `},"clickStatistics":{"clickCount":`...), int64(p.index), 10)
		return append(out, `,"families":[{"name":"MalSpam","clicks":1}]}}`...)
	}
	out = strconv.AppendInt(append(out, `},"threatStatistics":{"attackIndex":`...), int64(p.index), 10)
	return append(out, `,"families":[{"name":"credential phishing","score":90}]}}`...)
}
