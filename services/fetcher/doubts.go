package fetcher

import (
	"sync"

	"github.com/tapline/tapline/pkg/feed"
)

// doubts remembers which endpoints answer oddly while others prove the same, which feeds answers
// lack, and which ids failed. It is safe for concurrent use.
type doubts struct {
	mu    sync.Mutex
	paths map[string]bool
	feeds map[feed.Feed]bool
	ids   map[feed.Call]map[string]bool // that failed since one of the kind was answered
}

// strangers is how many different ids fail in a row until that is not taken for their own fault.
const strangers = 5

// strange records an id that failed. It reports whether so many different ones did that the
// endpoint is the reason.
func (d *doubts) strange(call feed.Call, id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ids[call] == nil {
		d.ids[call] = make(map[string]bool)
	}
	if len(d.ids[call]) < strangers {
		d.ids[call][id] = true
	}
	return len(d.ids[call]) >= strangers
}

// answered records that an id of the kind has an answer.
func (d *doubts) answered(call feed.Call) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.ids, call)
}

func newDoubts() *doubts {
	return &doubts{paths: make(map[string]bool), feeds: make(map[feed.Feed]bool), ids: make(map[feed.Call]map[string]bool)}
}

// missing records feeds that an answer lacked.
func (d *doubts) missing(feeds []feed.Feed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range feeds {
		d.feeds[f] = true
	}
}

// proven records that windows are read by an endpoint, or by others instead of it.
func (d *doubts) proven(path string, byOthers bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.paths[path] = byOthers
}

// detour reports whether others prove what an endpoint does not.
func (d *doubts) detour(path string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.paths[path]
}

// compare puts feeds that are in doubt first.
func (d *doubts) compare(x, y feed.Feed) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.feeds[x] == d.feeds[y]:
		return 0
	case d.feeds[x]:
		return -1
	}
	return 1
}
