package replay

import (
	"bytes"
	"slices"
	"strings"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Filter is what an order selects inside its part of the stream.
type Filter struct {
	order  *taplinev1.ReplayOrder
	values [][]byte // each of order's records, in quotes
}

// NewFilter reads an order.
func NewFilter(o *taplinev1.ReplayOrder) *Filter {
	f := &Filter{order: o}
	for _, r := range o.GetRecords() {
		f.values = append(f.values, []byte(`"`+r+`"`))
	}
	return f
}

// Table reports whether rows of a table are wanted.
func (f *Filter) Table(name string) bool {
	return len(f.order.GetTables()) == 0 || slices.Contains(f.order.GetTables(), name)
}

// Batch reports whether anything of a batch may be wanted.
func (f *Filter) Batch(feedName, jobID string) bool {
	if len(f.order.GetFeeds()) > 0 && !slices.Contains(f.order.GetFeeds(), feedName) {
		return false
	}
	return len(f.order.GetJobs()) == 0 || MatchesJob(f.order.GetJobs(), jobID)
}

// MatchesJob reports whether a job is one of those named, by id or by its beginning up to the
// window.
func MatchesJob(names []string, jobID string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		return jobID == name || strings.HasPrefix(jobID, name+"/")
	})
}

// Single reports whether single rows are wanted, and not whole batches.
func (f *Filter) Single() bool { return len(f.values) > 0 }

// Row reports whether one row or record is wanted.
func (f *Filter) Row(taplineID string, json []byte) bool {
	return !f.Single() || slices.Contains(f.order.GetRecords(), taplineID) ||
		slices.ContainsFunc(f.values, func(v []byte) bool { return bytes.Contains(json, v) })
}

// Selection is what the consumer of an order reads: its part of the stream, narrowed to the
// subjects on which something may be wanted.
func Selection(o *taplinev1.ReplayOrder) bus.Selection {
	if o.GetReprocess() {
		return bus.Raws(o.GetTenant(), feedsOf(o)...).Between(o.GetFirstSequence(), o.GetLastSequence())
	}
	return bus.Events(o.GetTenant(), tablesOf(o)...).Between(o.GetFirstSequence(), o.GetLastSequence())
}

// Consumer is the consumer of an order.
func Consumer(o *taplinev1.ReplayOrder) bus.Consumer {
	if o.GetReprocess() {
		return bus.ReprocessConsumer(o.GetId())
	}
	return bus.ReplayConsumer(o.GetId())
}

// tables are where rows of a feed may go.
func tables(f feed.Feed) []string {
	if f == feed.Campaigns { // reports of campaigns go to both
		return []string{f.Table(), feed.Threats.Table()}
	}
	return []string{f.Table()}
}

// tablesOf is none when all tables are to be read.
func tablesOf(o *taplinev1.ReplayOrder) []string {
	if len(o.GetTables()) > 0 {
		return o.GetTables()
	}
	var list []string
	for _, name := range o.GetFeeds() {
		for _, t := range tables(feed.Feed(name)) {
			if !slices.Contains(list, t) {
				list = append(list, t)
			}
		}
	}
	return list
}

// feedsOf is none when all feeds are to be read.
func feedsOf(o *taplinev1.ReplayOrder) []string {
	if len(o.GetFeeds()) > 0 || len(o.GetTables()) == 0 {
		return o.GetFeeds()
	}
	var list []string
	for _, f := range feed.All() {
		if slices.ContainsFunc(tables(f), func(t string) bool { return slices.Contains(o.GetTables(), t) }) {
			list = append(list, string(f))
		}
	}
	return list
}
