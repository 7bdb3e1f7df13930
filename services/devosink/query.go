package devosink

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tapline/tapline/pkg/config"
)

// QueryConfig is who may query, and when what was stored is found.
type QueryConfig struct {
	Token  config.Secret `env:"DEVOSINK_QUERY_TOKEN" envDefault:"demo" usage:"token that may query"`
	Key    config.Secret `env:"DEVOSINK_QUERY_KEY" envDefault:"demo-key" usage:"API key that may query, with signed requests"`
	Secret config.Secret `env:"DEVOSINK_QUERY_SECRET" envDefault:"demo-secret" usage:"API secret that signs them"`
	Delay  time.Duration `env:"DEVOSINK_QUERY_DELAY" envDefault:"5s" usage:"time until a query finds what was stored"`
}

// Query is the stand-in for Devo's query API:
//
//	POST /search/query {"query": "from T where has(rawMessage, \"word\") select rawMessage", "from": 1, "to": 2, "mode": {"type": "json/simple"}}
//
// It knows one table, one condition, and either rawMessage or count() after select, in mode
// json/simple. That a query does not find at once what was stored is how Devo is; the shape of
// answers and what broken requests get are guesses.
func (s *Sink) Query(c QueryConfig) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /search/query", func(w http.ResponseWriter, r *http.Request) {
		conn := &connection{sink: s, number: s.store.connected()}
		if hit := s.strike(conn, FaultQueryStatus, 0); hit != nil {
			if hit.Delay > 0 {
				w.Header().Set("Retry-After", strconv.Itoa(int(hit.Delay/time.Second)))
			}
			http.Error(w, "a fault, for "+r.Header.Get("Authorization"), int(hit.Bytes)) // the worst thing to repeat
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if !c.allows(r.Header, body) {
			http.Error(w, "unknown token, key or signature", http.StatusUnauthorized)
			return
		}
		q, err := parseQuery(body)
		if err == nil && s.cfg.Mode != Full {
			err = errNothingKept
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.find(r.Context(), w, conn, q, time.Now().Add(-c.Delay))
	})
	return mux
}

// maxStale is how old a signature may be: a guess.
const maxStale = 5 * time.Minute

// allows checks a token, or a signature.
func (c QueryConfig) allows(h http.Header, body []byte) bool {
	if c.Token != "" && subtle.ConstantTimeCompare([]byte(h.Get("Authorization")), []byte("Bearer "+c.Token.Reveal())) == 1 {
		return true
	}
	key, at := h.Get("x-logtrust-apikey"), h.Get("x-logtrust-timestamp")
	ms, err := strconv.ParseInt(at, 10, 64)
	if err != nil || c.Key == "" || key != c.Key.Reveal() || time.Since(time.UnixMilli(ms)).Abs() > maxStale {
		return false
	}
	mac := hmac.New(sha256.New, []byte(c.Secret.Reveal()))
	mac.Write([]byte(key + string(body) + at))
	return hmac.Equal([]byte(hex.EncodeToString(mac.Sum(nil))), []byte(h.Get("x-logtrust-sign")))
}

// query is one that can be answered.
type query struct {
	table, word string
	count       bool
	from, to    time.Time
	limit       int // negative for none
}

var (
	errQuery       = errors.New("this stand-in cannot answer that")
	errNothingKept = errors.New("nothing to query: DEVOSINK_MODE is not full")
	queryForm      = regexp.MustCompile(`^from ([A-Za-z0-9_.]+)(?: where has\(rawMessage, "([^"\\]+)"\))? select (rawMessage|count\(\))$`)
)

func parseQuery(body []byte) (query, error) {
	var r struct {
		Query string                `json:"query"`
		From  *int64                `json:"from"`
		To    *int64                `json:"to"`
		Limit *int                  `json:"limit"`
		Mode  struct{ Type string } `json:"mode"`
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return query{}, fmt.Errorf("%w: %w", errQuery, err)
	}
	m := queryForm.FindStringSubmatch(strings.Join(strings.Fields(r.Query), " "))
	switch {
	case m == nil:
		return query{}, fmt.Errorf("%w: query %q", errQuery, r.Query)
	case r.From == nil || r.To == nil: // a query without an end has none
		return query{}, fmt.Errorf("%w: want from and to", errQuery)
	case r.Mode.Type != "json/simple":
		return query{}, fmt.Errorf("%w: mode %q", errQuery, r.Mode.Type)
	}
	q := query{table: m[1], word: m[2], count: m[3] == "count()", from: time.Unix(*r.From, 0), to: time.Unix(*r.To, 0), limit: -1}
	if r.Limit != nil {
		q.limit = *r.Limit
	}
	return q, nil
}

// find answers with what arrived before an instant.
func (s *Sink) find(ctx context.Context, w http.ResponseWriter, conn *connection, q query, before time.Time) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := bufio.NewWriter(w)
	defer out.Flush()
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	n := 0
	for _, e := range s.Events(q.table) {
		if e.Received.Before(q.from) || !e.Received.Before(q.to) || e.Received.After(before) || !strings.Contains(string(e.Message), q.word) {
			continue
		}
		if n == q.limit || ctx.Err() != nil {
			break
		}
		if s.strike(conn, FaultQueryCut, int64(n)) != nil {
			_ = out.Flush()
			panic(http.ErrAbortHandler) // the documented way to break the connection
		}
		n++
		if !q.count && enc.Encode(map[string]string{"rawMessage": string(e.Message)}) != nil {
			return
		}
	}
	if q.count {
		_ = enc.Encode(map[string]int{"count": n}) // the client has gone
	}
}
