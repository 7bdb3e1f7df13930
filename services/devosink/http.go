package devosink

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Handler answers queries of testers below /_sink/.
func (s *Sink) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_sink/counts", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.Snapshot()) })
	mux.HandleFunc("GET /_sink/duplicates", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.Duplicates()) })
	mux.HandleFunc("GET /_sink/events", s.serveEvents)
	mux.HandleFunc("GET /_sink/faults", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.Faults()) })
	mux.HandleFunc("POST /_sink/faults", s.acceptFault)
	mux.HandleFunc("DELETE /_sink/faults", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.Clear(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("DELETE /_sink/events", func(w http.ResponseWriter, _ *http.Request) {
		s.Reset()
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a tester that went away needs no answer
}

func (s *Sink) acceptFault(w http.ResponseWriter, r *http.Request) {
	var f Fault
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&f)
	if err == nil {
		err = s.Inject(f)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

// storedEvent is one line of GET /_sink/events.
type storedEvent struct {
	Tag        string          `json:"tag"`
	Host       string          `json:"host"`
	Date       time.Time       `json:"date"`
	Eventdate  time.Time       `json:"eventdate"`
	Connection int64           `json:"connection"`
	Domain     string          `json:"domain"`
	Partial    bool            `json:"partial,omitempty"`
	Message    json.RawMessage `json:"message,omitempty"` // when it is JSON
	Text       string          `json:"text,omitempty"`    // when it is not
}

// serveEvents streams what mode full has kept: ?tag=, ?limit=, ?from= and ?to= (RFC 3339).
func (s *Sink) serveEvents(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit := -1
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			http.Error(w, "limit: want a number", http.StatusBadRequest)
			return
		}
		limit = n
	}
	var span [2]time.Time
	for i, name := range []string{"from", "to"} {
		if text := q.Get(name); text != "" {
			at, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				http.Error(w, name+": want RFC 3339", http.StatusBadRequest)
				return
			}
			span[i] = at
		}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := bufio.NewWriter(w)
	defer out.Flush()
	enc := json.NewEncoder(out)
	for _, e := range s.Events(q.Get("tag")) {
		if limit == 0 {
			return
		}
		if e.Received.Before(span[0]) || (!span[1].IsZero() && !e.Received.Before(span[1])) {
			continue
		}
		limit--
		line := storedEvent{
			Tag: e.Tag, Host: e.Host, Date: e.Date, Eventdate: e.Received, Connection: e.Connection, Domain: e.Subject, Partial: e.Frame.Partial,
		}
		if json.Valid(e.Message) {
			line.Message = e.Message
		} else {
			line.Text = string(e.Message)
		}
		if enc.Encode(line) != nil {
			return
		}
	}
}
