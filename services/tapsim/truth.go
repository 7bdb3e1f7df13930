package tapsim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/tapline/tapline/pkg/feed"
)

// Truth is one record as the simulator knows it.
type Truth struct {
	Feed    feed.Feed `json:"feed"`
	Key     string    `json:"key"` // see [NaturalKey]
	Created time.Time `json:"created"`
	Visible time.Time `json:"visible"`
	Revised time.Time `json:"revised"` // when its content changes; zero if it does not
}

// added is a record that a tester put in.
type added struct {
	Truth
	raw []byte
}

// Truth lists every record created in [from, to), visible yet or not.
func (s *Sim) Truth(from, to time.Time) iter.Seq[Truth] {
	return func(yield func(Truth) bool) {
		var buf []byte
		for o := range s.origins(from, to) {
			buf = s.gen.appendKey(buf[:0], o)
			if !yield(Truth{s.gen.feed(o), string(buf), s.gen.created(o), s.gen.visible(o), s.gen.revision(o)}) {
				return
			}
		}
		for _, a := range s.added() {
			if !a.Created.Before(from) && a.Created.Before(to) && !yield(a.Truth) {
				return
			}
		}
	}
}

// Derived lists what the records visible at a moment name, and the campaigns listed
// until then: one entry for each threat and campaign that a complete collector has rows of.
func (s *Sim) Derived(at time.Time) iter.Seq[Truth] {
	return func(yield func(Truth) bool) {
		told := make(map[string]bool)
		tell := func(f feed.Feed, id string, created, visible time.Time) bool {
			if told[string(f)+id] {
				return true
			}
			told[string(f)+id] = true
			return yield(Truth{Feed: f, Key: "id:" + id, Created: created, Visible: visible})
		}
		for o := range s.origins(s.epoch, at) {
			if s.gen.visible(o).After(at) || s.gen.has(o, forMalformed, s.cfg.MalformedFraction) {
				continue
			}
			for i := range s.gen.threats(o) {
				t := s.gen.threatOf(o, i)
				if !tell(feed.Threats, s.gen.threatID(t), s.gen.created(o), s.gen.visible(o)) {
					return
				}
				if c := strings.Trim(s.gen.campaign(o, t), `"`); c != "null" && !tell(feed.Campaigns, c, s.gen.created(o), s.gen.visible(o)) {
					return
				}
			}
		}
		for t := range s.Listed(at) {
			if !tell(t.Feed, strings.TrimPrefix(t.Key, "id:"), t.Created, t.Visible) {
				return
			}
		}
	}
}

// Listed lists the campaigns that were active since the first record, as the list of campaigns has
// them.
func (s *Sim) Listed(at time.Time) iter.Seq[Truth] {
	return func(yield func(Truth) bool) {
		for _, d := range s.gen.active(s.epoch, at, at) {
			if !d.updated.Before(s.epoch) && !yield(Truth{Feed: feed.Campaigns, Key: "id:" + d.id, Created: d.start, Visible: d.updated}) {
				return
			}
		}
	}
}

// People lists the guids on a list of people.
func (s *Sim) People(call feed.Call, days int, at time.Time) []string {
	var guids []string
	for _, p := range s.list(call, days, at) {
		guids = append(guids, p.guid(s.cfg.Seed))
	}
	return guids
}

func (s *Sim) added() []added {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.extra)
}

// origins lists the records whose creation lies in [from, to).
func (s *Sim) origins(from, to time.Time) iter.Seq[origin] {
	return func(yield func(origin) bool) {
		first := max(from.Unix(), s.epoch.Unix())
		for second := first; time.Unix(second, 0).Before(to); second++ {
			for i := range s.gen.count(second) {
				o := origin{second: second, index: i}
				if at := s.gen.created(o); at.Before(from) || !at.Before(to) {
					continue
				}
				if !yield(o) {
					return
				}
			}
		}
	}
}

// AddRecord puts a record in; its bytes are served as they are.
func (s *Sim) AddRecord(f feed.Feed, created, visible time.Time, raw []byte) error {
	key, err := NaturalKey(f, raw)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.extra = append(s.extra, added{Truth{f, key, created.UTC(), visible.UTC(), time.Time{}}, slices.Clone(raw)})
	return nil
}

var errNoKey = errors.New("record has neither id nor GUID")

// NaturalKey names a record by what Proofpoint says is unique: "id:<id>", or for
// a message without an id "guid:<GUID>|<recipients in order, with commas>". It
// is for testers, who must not use the collector's own idea of identity.
func NaturalKey(f feed.Feed, raw []byte) (string, error) {
	var r struct {
		ID        string          `json:"id"`
		GUID      string          `json:"GUID"`
		Recipient json.RawMessage `json:"recipient"`
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return "", fmt.Errorf("record of %s: %w", f, err)
	}
	if r.ID != "" {
		return "id:" + r.ID, nil
	}
	if r.GUID == "" || f.IsClick() {
		return "", fmt.Errorf("%w: %.60s", errNoKey, raw)
	}
	var many []string
	var one string
	if json.Unmarshal(r.Recipient, &many) != nil && json.Unmarshal(r.Recipient, &one) == nil {
		many = []string{one}
	}
	slices.Sort(many)
	return "guid:" + r.GUID + "|" + strings.Join(many, ","), nil
}

// FastKey is [NaturalKey] for records that a simulator made: it finds the same
// key without reading the whole record. It gives nil when there is none.
func FastKey(dst, raw []byte) []byte {
	if id := member(raw, `"id":"`); id != nil {
		return append(append(dst, "id:"...), id...)
	}
	guid := member(raw, `"GUID":"`)
	if guid == nil {
		return nil
	}
	dst = append(append(dst, "guid:"...), guid...)
	return append(append(dst, '|'), member(raw, `"recipient":["`)...)
}

// member finds the text behind the last place of a name.
func member(raw []byte, name string) []byte {
	i := bytes.LastIndex(raw, []byte(name))
	if i < 0 {
		return nil
	}
	value := raw[i+len(name):]
	before, _, ok := bytes.Cut(value, []byte{'"'})
	if !ok {
		return nil
	}
	return before
}
