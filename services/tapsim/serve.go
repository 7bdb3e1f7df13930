package tapsim

import (
	"cmp"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/tapline/tapline/pkg/backoff"
	"github.com/tapline/tapline/pkg/feed"
)

// ServeHTTP answers like the TAP API, and to the tester below /_sim/.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/_sim/") {
		s.serveTester(w, r)
		return
	}
	call := s.callOf(r.URL.Path, r.URL.Query().Get("interval"))
	counted := &counter{ResponseWriter: w, status: http.StatusOK, onError: func() { s.date(w, call, true) }}
	defer func() { s.note(endpoint(r.URL.Path), counted.status) }()
	s.attempt(r, call.now)
	h := counted.Header()
	h.Set("Date", call.now.Format(http.TimeFormat))
	h.Set("Strict-Transport-Security", "max-age=15724800; includeSubDomains")
	h.Set("X-Content-Type-Options", "nosniff")
	s.date(w, call, false)
	hit := s.strike(call, func(f Fault) bool { return !f.ofDate() })
	if hit != nil && s.before(counted, r, hit) {
		return
	}
	if !s.authorized(r) {
		fail(counted, http.StatusUnauthorized, "")
		return
	}
	i := slices.IndexFunc(feed.SIEMEndpoints(), func(e feed.Endpoint) bool { return e.Path == r.URL.Path })
	switch {
	case r.Method != http.MethodGet:
		fail(counted, http.StatusMethodNotAllowed, "")
	case i < 0:
		s.other(counted, r, hit)
	default:
		s.siem(counted, r, feed.SIEMEndpoints()[i], hit) //nolint:contextcheck // the fault of a path outlives the request
	}
}

// endpoint is a path without the id in it.
func endpoint(path string) string {
	for _, prefix := range []string{"/v2/threat/summary/", "/v2/campaign/"} {
		if strings.HasPrefix(path, prefix) && path != "/v2/campaign/ids" {
			return prefix
		}
	}
	return path
}

// date plays the faults of the Date header: those on errors only, or the others.
func (s *Sim) date(w http.ResponseWriter, c call, errors bool) {
	switch hit := s.strike(c, func(f Fault) bool { return f.ofDate() && f.Errors == errors }); {
	case hit.is(FaultDate):
		w.Header().Set("Date", c.now.Add(hit.Delay).Format(http.TimeFormat))
	case hit.is(FaultNoDate):
		w.Header()["Date"] = nil // the documented way to send none
	}
}

// counter remembers the status.
type counter struct {
	http.ResponseWriter
	status  int
	onError func() // before the headers of an error
}

// WriteHeader implements http.ResponseWriter.
func (c *counter) WriteHeader(status int) {
	c.status = status
	if status >= http.StatusBadRequest {
		c.onError()
	}
	c.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (s *Sim) authorized(r *http.Request) bool {
	user, password, ok := r.BasicAuth()
	good := subtle.ConstantTimeCompare([]byte(user), []byte(s.cfg.Principal)) &
		subtle.ConstantTimeCompare([]byte(password), []byte(s.cfg.Secret.Reveal()))
	return ok && good == 1
}

// before plays the faults that come before the body. It reports whether the call is over.
func (s *Sim) before(w http.ResponseWriter, r *http.Request, hit *Fault) bool {
	switch hit.Kind {
	case FaultStatus:
		fail(w, hit.Status, cmp.Or(hit.Text, http.StatusText(hit.Status)))
		return true
	case FaultBadRequest, FaultMaxSpan, FaultMinSpan, FaultHeadLag:
		usual := map[FaultKind]string{FaultMaxSpan: tooLong, FaultMinSpan: tooShort, FaultHeadLag: stillCurrent}
		fail(w, http.StatusBadRequest, cmp.Or(hit.Text, usual[hit.Kind]))
		return true
	case FaultNoContent, FaultEmpty:
		w.WriteHeader(map[FaultKind]int{FaultNoContent: http.StatusNoContent, FaultEmpty: http.StatusOK}[hit.Kind])
		return true
	case FaultHTML:
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(max(hit.Status, http.StatusOK))
		_, _ = fmt.Fprint(w, "<html><head><title>Service</title></head><body><h1>Temporarily unavailable</h1></body></html>")
		return true
	case FaultReset:
		panic(http.ErrAbortHandler) // the documented way to break the connection
	case FaultSlow:
		if !backoff.Sleep(r.Context(), hit.Delay) {
			return true
		}
	}
	return hostile(w, r, hit)
}

func fail(w http.ResponseWriter, status int, sentence string) {
	w.Header().Set("Content-Type", "text/plain;charset=utf-8")
	if strings.HasPrefix(sentence, "<") {
		w.Header().Set("Content-Type", "text/html")
	}
	w.WriteHeader(status)
	_, _ = fmt.Fprint(w, sentence) //nolint:gosec // plain text, and for testers
}

func (s *Sim) siem(w http.ResponseWriter, r *http.Request, e feed.Endpoint, hit *Fault) {
	now := s.Now()
	ok, wait := s.admit(e.Pool, now)
	if !ok {
		s.tooMany(w, wait)
		return
	}
	q, err := s.limits().parse(r.URL.Query(), now)
	if refused, ok := errors.AsType[*refusal](err); ok {
		s.release(e.Pool)
		fail(w, http.StatusBadRequest, refused.sentence)
		return
	}
	s.mu.Lock()
	s.shuffles++
	answer := &answer{sim: s, w: w, r: r, query: q, endpoint: e, now: now, shuffle: s.shuffles, fault: hit}
	s.mu.Unlock()
	answer.send()
}
