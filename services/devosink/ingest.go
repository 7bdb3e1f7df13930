package devosink

import (
	"bufio"
	"bytes"
	"crypto/subtle"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/tapline/tapline/pkg/backoff"
)

// What the stand-in for Devo's HTTP ingestion takes in one request.
const (
	maxBody = 32 << 20
	maxLine = 8 << 20
)

// Ingest is the stand-in for Devo's HTTP ingestion:
//
//	POST /stream/<domain>/token!<token>/<host>/<tag>
//
// with events in the body, one a line, and gzip if the header says so. It answers 200 at once,
// as documented; what it answers to broken requests is a guess.
func (s *Sink) Ingest(domain, token string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /stream/{domain}/{token}/{host}/{tag}", func(w http.ResponseWriter, r *http.Request) {
		good := subtle.ConstantTimeCompare([]byte(r.PathValue("domain")), []byte(domain)) &
			subtle.ConstantTimeCompare([]byte(r.PathValue("token")), []byte("token!"+token))
		if good != 1 {
			http.Error(w, "unknown domain or token", http.StatusUnauthorized)
			return
		}
		s.ingest(w, r)
	})
	return mux
}

func (s *Sink) ingest(w http.ResponseWriter, r *http.Request) {
	c := &connection{sink: s, number: s.store.connected()}
	defer s.store.disconnected()
	if hit := s.strike(c, FaultStatus, 0); hit != nil {
		if hit.Delay > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(hit.Delay/time.Second)))
		}
		http.Error(w, "a fault, at "+r.URL.Path, int(hit.Bytes)) // the worst place to repeat a token
		return
	}
	if hit := s.strike(c, FaultEndless, 0); hit != nil {
		endless(w, r, hit)
		return
	}
	if hit := s.strike(c, FaultSlow, 0); hit != nil {
		c.wait(r.Context(), hit.Delay)
	}
	lines, err := s.lines(r)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	case s.refuses(w, c, lines):
		return
	case s.strike(c, FaultReset, 0) != nil:
		panic(http.ErrAbortHandler) // the documented way to break the connection
	case s.strike(c, FaultDiscard, 0) != nil:
		return
	}
	for _, line := range lines {
		for _, part := range c.fit(Frame{Raw: line, Kind: Line}) {
			s.putLine(r, c, part)
			if s.strike(c, FaultTwice, 0) != nil {
				s.putLine(r, c, part)
			}
		}
	}
	s.store.announce()
	if s.strike(c, FaultLost, 0) != nil {
		panic(http.ErrAbortHandler)
	}
}

// refuses answers a request that has an event in it that a fault does not take.
func (s *Sink) refuses(w http.ResponseWriter, c *connection, lines [][]byte) bool {
	long := s.strike(c, FaultRefuseLong, 0)
	text := s.strike(c, FaultRefuseText, 0)
	for _, line := range lines {
		switch {
		case long != nil && int64(len(line)) > long.Bytes:
			http.Error(w, "an event is too long", http.StatusRequestEntityTooLarge)
			return true
		case text != nil && bytes.Contains(line, []byte(text.Text)):
			http.Error(w, "an event cannot be parsed: "+text.Text, http.StatusBadRequest)
			return true
		}
	}
	return false
}

// endless answers until the client has gone, or the fault is cleared.
func endless(w http.ResponseWriter, r *http.Request, f *Fault) {
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, maxBody)) // else it goes unnoticed that the client left
	w.WriteHeader(int(f.Bytes))
	chunk := bytes.Repeat([]byte("no "), 10_000)
	if f.Delay > 0 {
		chunk = chunk[:1]
	}
	for r.Context().Err() == nil {
		if _, err := w.Write(chunk); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		if f.Delay > 0 {
			backoff.Sleep(r.Context(), f.Delay)
		}
	}
}

// lines reads the whole body first: a request that breaks off stores nothing.
func (s *Sink) lines(r *http.Request) (lines [][]byte, err error) {
	body := io.LimitReader(r.Body, maxBody+1)
	if strings.EqualFold(r.Header.Get("Content-Encoding"), "gzip") {
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, err
		}
		defer z.Close()
		body = z
	}
	scanner := bufio.NewScanner(body)
	scanner.Buffer(nil, maxLine)
	for scanner.Scan() {
		lines = append(lines, append([]byte(nil), scanner.Bytes()...))
	}
	if len(lines) == 0 && scanner.Err() == nil {
		return nil, errNoEvents
	}
	return lines, scanner.Err()
}

var errNoEvents = errors.New("the body has no events")

func (s *Sink) putLine(r *http.Request, c *connection, line Frame) {
	now := time.Now().UTC()
	e := Event{Received: now, Date: now, Connection: c.number, Subject: r.PathValue("domain"), Frame: line, Message: line.Raw}
	h := Header{Priority: -1, Date: now, Host: []byte(r.PathValue("host")), Tag: []byte(r.PathValue("tag")), Message: line.Raw}
	s.store.add(&e, &h)
	if s.cfg.OnEvent != nil {
		e.Tag, e.Host = r.PathValue("tag"), r.PathValue("host")
		s.cfg.OnEvent(e)
	}
}
