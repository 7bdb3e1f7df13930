package tapsim

import (
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/feed"
)

// Sim is one simulated service. It is an http.Handler and safe for concurrent use.
type Sim struct {
	cfg   Config
	start time.Time // by the real clock
	epoch time.Time // creation of the first record
	gen   generator

	mu       sync.Mutex
	calls    map[feed.Pool][]time.Time // the sliding log of each pool, by the simulator's clock
	refused  map[feed.Pool]int         // 429s of each pool
	attempts map[feed.Pool][]time.Time // of the last 24 hours, whatever was answered
	peaks    map[feed.Pool]int         // the most of these at any moment
	requests map[string]map[int]int    // by path and status
	shuffles uint64
	faults   []*fault
	extra    []added
}

// New makes a simulator whose clock starts at the present.
func New(c Config) (*Sim, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	now := c.Clock()
	return &Sim{
		cfg: c, start: now, epoch: now.Add(-c.Age).UTC().Truncate(time.Second), gen: generator{c},
		calls: make(map[feed.Pool][]time.Time), refused: make(map[feed.Pool]int), requests: make(map[string]map[int]int),
		attempts: make(map[feed.Pool][]time.Time), peaks: make(map[feed.Pool]int),
	}, nil
}

// Now is the simulator's clock.
func (s *Sim) Now() time.Time {
	real := s.cfg.Clock().Sub(s.start)
	return s.start.Add(time.Duration(float64(real) * s.cfg.Factor)).UTC()
}

// Epoch is when the first record was created.
func (s *Sim) Epoch() time.Time { return s.epoch }

func (s *Sim) limit(p feed.Pool) int {
	return map[feed.Pool]int{
		feed.PoolSIEM: s.cfg.LimitSIEM, feed.PoolSIEMPermitted: s.cfg.LimitPermitted, feed.PoolCampaignIDs: s.cfg.LimitCampaignIDs,
		feed.PoolPeopleVAP: s.cfg.LimitPeople, feed.PoolPeopleTopClickers: s.cfg.LimitPeople,
		feed.PoolForensicsThreat: s.cfg.LimitForensicsThreat, feed.PoolForensicsCampaign: s.cfg.LimitForensicsCampaign,
	}[p]
}

// admit records a call in the sliding log of its pool. When the log is full it says when the oldest
// call leaves it.
func (s *Sim) admit(p feed.Pool, now time.Time) (ok bool, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := recent(s.calls[p], now)
	s.calls[p] = log
	if len(log) >= s.limit(p) {
		s.refused[p]++
		if len(log) == 0 {
			return false, 24 * time.Hour
		}
		return false, log[0].Add(24 * time.Hour).Sub(now)
	}
	s.calls[p] = append(log, now)
	return true, 0
}

// recent drops what is older than a day from a log.
func recent(log []time.Time, now time.Time) []time.Time {
	for len(log) > 0 && !log[0].After(now.Add(-24*time.Hour)) {
		log = log[1:]
	}
	return log
}

// attempt records a call of a pool, whatever will be answered.
func (s *Sim) attempt(r *http.Request, now time.Time) {
	p := poolOf(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts[p] = append(recent(s.attempts[p], now), now)
	s.peaks[p] = max(s.peaks[p], len(s.attempts[p]))
}

// poolOf is the pool that a request uses up, if any.
func poolOf(r *http.Request) feed.Pool {
	for _, e := range feed.SIEMEndpoints() {
		if e.Path == r.URL.Path {
			return e.Pool
		}
	}
	switch r.URL.Path {
	case "/v2/campaign/ids":
		return feed.PoolCampaignIDs
	case "/v2/people/vap":
		return feed.PoolPeopleVAP
	case "/v2/people/top-clickers":
		return feed.PoolPeopleTopClickers
	case "/v2/forensics":
		if r.URL.Query().Has("campaignId") {
			return feed.PoolForensicsCampaign
		}
		return feed.PoolForensicsThreat
	}
	return feed.PoolNone
}

// release takes the last call of a pool back: it failed, and such calls do not count.
func (s *Sim) release(p feed.Pool) {
	if s.cfg.CountFailed {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.calls[p]); n > 0 {
		s.calls[p] = s.calls[p][:n-1]
	}
}

// Status is what GET /_sim/status answers.
type Status struct {
	Now      time.Time                 `json:"now"`
	Epoch    time.Time                 `json:"epoch"`
	Factor   float64                   `json:"factor"`
	Requests map[string]map[int]int    `json:"requests"` // by path and status
	Quota    map[feed.Pool]QuotaStatus `json:"quota"`
}

// QuotaStatus is how a pool stands.
type QuotaStatus struct {
	Limit   int `json:"limit"`
	Used    int `json:"used"`    // calls of the last 24 hours
	Refused int `json:"refused"` // calls answered with 429 since the start
	Peak    int `json:"peak"`    // the most calls in any 24 hours, whatever the answers were
}

// Status describes the simulator.
func (s *Sim) Status() Status {
	now := s.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{
		Now: now, Epoch: s.epoch, Factor: s.cfg.Factor, Requests: make(map[string]map[int]int), Quota: make(map[feed.Pool]QuotaStatus),
	}
	for path, byStatus := range s.requests {
		st.Requests[path] = make(map[int]int)
		maps.Copy(st.Requests[path], byStatus)
	}
	for _, p := range feed.Pools() {
		if p == feed.PoolNone {
			continue
		}
		used := 0
		for _, at := range s.calls[p] {
			if at.After(now.Add(-24 * time.Hour)) {
				used++
			}
		}
		st.Quota[p] = QuotaStatus{s.limit(p), used, s.refused[p], s.peaks[p]}
	}
	return st
}

func (s *Sim) note(path string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests[path] == nil {
		s.requests[path] = make(map[int]int)
	}
	s.requests[path][status]++
}
