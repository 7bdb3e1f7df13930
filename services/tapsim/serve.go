package tapsim

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tapline/tapline/pkg/feed"
)

// ServeHTTP answers like the TAP API, and to the tester below /_sim/.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/_sim/") {
		s.serveTester(w, r)
		return
	}
	counted := &counter{ResponseWriter: w, status: http.StatusOK}
	defer func() { s.note(endpoint(r.URL.Path), counted.status) }()
	now := s.Now()
	h := counted.Header()
	h.Set("Date", now.Format(http.TimeFormat))
	h.Set("Strict-Transport-Security", "max-age=15724800; includeSubDomains")
	h.Set("X-Content-Type-Options", "nosniff")
	hit := s.strike(r.URL.Path)
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
		s.siem(counted, r, feed.SIEMEndpoints()[i], hit)
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

// counter remembers the status.
type counter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (c *counter) WriteHeader(status int) {
	c.status = status
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
		fail(w, hit.Status, http.StatusText(hit.Status))
		return true
	case FaultHTML:
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(max(hit.Status, http.StatusOK))
		_, _ = fmt.Fprint(w, "<html><head><title>Service</title></head><body><h1>Temporarily unavailable</h1></body></html>")
		return true
	case FaultReset:
		panic(http.ErrAbortHandler) // the documented way to break the connection
	case FaultSlow:
		timer := time.NewTimer(hit.Delay)
		defer timer.Stop()
		select {
		case <-r.Context().Done():
			return true
		case <-timer.C:
		}
	}
	return false
}

func fail(w http.ResponseWriter, status int, sentence string) {
	w.Header().Set("Content-Type", "text/plain;charset=utf-8")
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
	q, err := parseQuery(r.URL.Query(), now)
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
