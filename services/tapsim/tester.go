package tapsim

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/tapline/tapline/pkg/feed"
)

// serveTester answers below /_sim/; it needs no credential.
func (s *Sim) serveTester(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path {
	case "GET /_sim/truth":
		s.serveTruth(w, r)
	case "GET /_sim/status":
		reply(w, s.Status())
	case "GET /_sim/quota":
		reply(w, s.Status().Quota)
	case "GET /_sim/faults":
		reply(w, s.Faults())
	case "POST /_sim/faults":
		var f Fault
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&f); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := s.Inject(f); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusCreated)
	case "DELETE /_sim/faults":
		s.Clear(r.URL.Query()["name"]...)
		w.WriteHeader(http.StatusNoContent)
	case "POST /_sim/records":
		s.acceptRecord(w, r)
	default:
		http.NotFound(w, r)
	}
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a tester that went away needs no answer
}

// serveTruth streams one JSON object a line.
func (s *Sim) serveTruth(w http.ResponseWriter, r *http.Request) {
	from, to := s.epoch, s.Now()
	for name, dst := range map[string]*time.Time{"from": &from, "to": &to} {
		if text := r.URL.Query().Get(name); text != "" {
			at, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				http.Error(w, fmt.Sprintf("%s=%q: want RFC 3339", name, text), http.StatusBadRequest)
				return
			}
			*dst = at
		}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	for t := range s.Truth(from, to) {
		if enc.Encode(t) != nil || r.Context().Err() != nil {
			return
		}
	}
	_ = out.Flush()
}

func (s *Sim) acceptRecord(w http.ResponseWriter, r *http.Request) {
	now := s.Now()
	in := struct {
		Feed    feed.Feed       `json:"feed"`
		Created time.Time       `json:"created"`
		Visible time.Time       `json:"visible"`
		Record  json.RawMessage `json:"record"`
	}{Created: now, Visible: now}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 8<<20)).Decode(&in)
	if err == nil {
		err = s.AddRecord(in.Feed, in.Created, in.Visible, in.Record)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusCreated)
}
