package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tapline/tapline/pkg/bus"
)

// Bounds of what [Ledger.Load] reads of one part, bytes. The account of an hour has some ten KiB;
// at a million records an hour and a thousand lookups it has 300.
const (
	loadLeast   = 16 << 20
	loadPerHour = 512 << 10
)

// pagePatience bounds the request for a single page of some MiB, when one request for many does not
// succeed.
const pagePatience = 10 * time.Second

// Load reads all pages of the hours that meet [from, to), and of the hour before, whose windows may
// reach into it. A page that cannot be read, or that is more than a part may have, is a violation
// with its key. The others count all the same.
func (l *Ledger) Load(ctx context.Context, tenant string, from, to time.Time) (*Report, error) {
	first := from.UTC().Truncate(time.Hour).Add(-time.Hour)
	r := &loading{Report: newReport(), store: l.store, tenant: tenant, taken: make(map[string]int)}
	r.most = loadLeast + loadPerHour*int(max(to.Sub(first), 0)/time.Hour)
	for day := first.Truncate(24 * time.Hour); day.Before(to); day = day.Add(24 * time.Hour) {
		var hours []string
		for hour := day; hour.Before(day.Add(24*time.Hour)) && hour.Before(to); hour = hour.Add(time.Hour) {
			if !hour.Before(first) {
				hours = append(hours, hour.Format(hourForm))
			}
		}
		if err := r.hours(ctx, hours); err != nil {
			return nil, err
		}
	}
	r.finish()
	return r.Report, nil
}

// loading is a book that is being read.
type loading struct {
	*Report
	store  store
	tenant string
	most   int            // bytes of one part
	taken  map[string]int // bytes, by part
}

// hours reads the pages of hours by their names, as keys that no stage of ours makes are not read.
// Pages that are too large for one answer are read one by one.
func (r *loading) hours(ctx context.Context, hours []string) error {
	filters := make([]string, len(hours))
	for i, hour := range hours {
		filters[i] = "*." + r.tenant + "." + hour
	}
	pairs, err := r.store.Select(ctx, filters...)
	if errors.Is(err, bus.ErrIncomplete) && ctx.Err() == nil {
		return r.each(ctx, hours)
	}
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	for _, pair := range pairs {
		r.page(pair)
	}
	return nil
}

// each reads every page in a request of its own. A page that does not come, asked for twice, says
// something about the server and nothing about the page.
func (r *loading) each(ctx context.Context, hours []string) error {
	for _, hour := range hours {
		for _, part := range []Part{PartRead, PartMade, PartWant, PartSent, PartPlan} {
			key := string(part) + "." + r.tenant + "." + hour
			entry, err := r.get(ctx, key)
			if err != nil {
				entry, err = r.get(ctx, key)
			}
			if err != nil {
				return fmt.Errorf("ledger: %w", err)
			}
			if entry.Revision > 0 {
				r.page(bus.Pair{Key: key, Entry: entry})
			}
		}
	}
	return nil
}

// get reads a page. One that does not exist has no revision.
func (r *loading) get(ctx context.Context, key string) (bus.Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, pagePatience)
	defer cancel()
	entry, err := r.store.Get(ctx, key)
	if errors.Is(err, bus.ErrNotFound) {
		return bus.Entry{}, nil
	}
	return entry, err
}

// page adds a page.
func (r *loading) page(pair bus.Pair) {
	part, _, _ := strings.Cut(pair.Key, ".")
	if r.taken[part]+len(pair.Value) > r.most {
		r.violate(rulePage, pair.Key, "has %d bytes, with which the part %s has more than the %d MiB that are read of it", len(pair.Value), part, r.most>>20)
		return
	}
	r.taken[part] += len(pair.Value)
	page, err := DecodePage(pair.Value)
	if err == nil {
		err = r.add(page)
	}
	if err == nil && page.GetDamaged() {
		err = errReplaced
	}
	if err != nil {
		r.damaged(pair.Key, err)
	}
}

// errReplaced says that a page has taken the place of one that could not be read.
var errReplaced = errors.New("it was damaged, and what it listed is missing: tapctl ledger rebuild")

// rulePage is of violations that name a page by its key.
const rulePage = "page"

func (r *loading) damaged(key string, err error) {
	r.violate(rulePage, key, "cannot be read: %v", err)
}

// Unread lists the pages that are missing in a book, with the reasons.
func (b *Report) Unread() []string { return b.unread("") }

func (b *Report) unread(part Part) []string {
	var pages []string
	for _, v := range b.problems {
		if v.Rule == rulePage && strings.HasPrefix(v.Where, string(part)) {
			pages = append(pages, v.Where+" "+v.Detail)
		}
	}
	return pages
}
