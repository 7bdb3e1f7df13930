package devoconf

import (
	"fmt"
	"time"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/window"
)

// start is one for all feeds: the earliest, as what is read twice is removed.
func (r *reader) start(m member, all []service) {
	var first time.Time
	differ := false
	for _, s := range all {
		switch {
		case s.start.IsZero():
		case first.IsZero():
			first = s.start
		case !s.start.Equal(first):
			differ = true
			if s.start.Before(first) {
				first = s.start
			}
		}
	}
	if first.IsZero() {
		return
	}
	if differ {
		r.note(m, "begin at different times; here all begin at the earliest")
	}
	switch {
	case first.After(r.opts.Now):
		r.note(m, "begin in the future, at "+first.Format(time.RFC3339)+", which nothing here can; TAP_START_TIME is left out and collection begins seven days ago")
	case first.Before(r.opts.Now.Add(-window.Lookback)):
		r.set("TAP_START_TIME", "7d", m.path)
		r.note(m, "begin at "+first.Format(time.RFC3339)+", which Proofpoint no longer serves; here collection begins seven days ago")
	default:
		r.set("TAP_START_TIME", first.Format(time.RFC3339), m.path)
	}
}

// period is the shortest of the SIEM feeds, which one call reads together.
func (r *reader) period(m member, all []service) {
	shortest, others := 0, false
	for _, s := range all {
		switch {
		case s.period == 0:
		case !s.feed.IsSIEM():
			others = true
		case shortest == 0 || s.period < shortest:
			shortest = s.period
		}
	}
	if others {
		r.note(m, "have request_period_in_seconds for lists or threats: see TAP_CAMPAIGN_INTERVAL, TAP_PEOPLE_INTERVAL and EXPAND_REFRESH")
	}
	if shortest == 0 {
		return
	}
	period := time.Duration(shortest) * time.Second
	if fit := min(max(period, window.MinSpan), window.MaxSpan); fit != period {
		r.note(m, fmt.Sprintf("ask every %s; %s is the nearest that Proofpoint serves", period, fit))
		period = fit
	}
	r.set("TAP_POLL_INTERVAL", period.String(), m.path+".*.request_period_in_seconds")
	r.note(m, "have request_period_in_seconds; TAP_POLL_INTERVAL is the shortest time between calls, one of which reads all SIEM feeds. Leave it out for the default of a minute, and the planner spends the day's calls")
}

func (r *reader) forensics(m member, all []service) {
	var on, off, campaign bool
	for _, s := range all {
		if s.feed == feed.Threats || s.feed == feed.Campaigns {
			on, off, campaign = on || s.forensics, off || !s.forensics, campaign || s.campaign
		}
	}
	if !on {
		if campaign {
			r.note(m, "have include_campaign_forensics without forensics, which does nothing")
		}
		return
	}
	r.set("TAP_FORENSICS", "true", m.path+".*.forensics")
	if off {
		r.note(m, "have forensics for one of threats and campaigns; here it is on for both")
	}
	if campaign {
		r.set("TAP_CAMPAIGN_FORENSICS", "true", m.path+".threats.include_campaign_forensics")
		r.note(m, "have include_campaign_forensics: here the report of a threat's campaign is asked for instead of the threat's own, of which only 50 a day are served")
	}
}
