package devoconf

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
)

// globals: little of it means anything to Tapline.
func (r *reader) globals(root member) error {
	globals := root.get("globals")
	debug, err := r.flag(globals.get("debug"), false)
	if err != nil {
		return err
	}
	if debug {
		r.set("LOG_LEVEL", "debug", "globals.debug")
	}
	for _, m := range globals.members() {
		switch m.name {
		case "debug", "id", "name":
		case gzipKey:
			if err := r.gzip(m); err != nil {
				return err
			}
		case "persistence":
			r.note(m, "has no equivalent: state lives in streams and buckets of NATS. What the collector has read is not taken over; see the guide for running both side by side")
		default:
			r.note(m, "has no equivalent: "+tuning(m.name))
		}
	}
	for _, m := range root.get("global_overrides").members() {
		if m.name == gzipKey {
			if err := r.gzip(m); err != nil {
				return err
			}
			continue
		}
		r.note(m, "has no equivalent: "+tuning(m.name))
	}
	return nil
}

const gzipKey = "devo_sender_threshold_for_using_gzip_in_transport_layer"

// gzip: how full the collector's queue is when it begins to compress; above 1 is never, below 0
// always.
func (r *reader) gzip(m member) error {
	text, err := r.text(m)
	if err != nil {
		return err
	}
	threshold, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil:
		return r.problem(m, "want a number")
	case threshold < 0:
		r.set("DEVO_COMPRESS", "gzip", m.path)
	case threshold <= 1:
		r.note(m, "compresses when the queue is full to that share; here it is always (DEVO_COMPRESS=gzip) or never, which is the default")
	}
	return nil
}

func tuning(name string) string {
	switch {
	case strings.HasPrefix(name, "queue_"):
		return "there are no queues in memory; STREAM_RAW_MAX_BYTES and STREAM_EVENTS_MAX_BYTES bound what waits on disk"
	case strings.HasPrefix(name, "devo_sender_"):
		return "rows are sent in the batches in which they wait (DEVO_COMPRESS compresses them)"
	}
	return "nothing depends on it here"
}

// Kinds of outputs, by the names that the collector knows.
var (
	platform = []string{"devo_platform", "relay"}
	relays   = []string{"in_house_relay", "syslog", "sidecar"}
	consoles = []string{"console", "stdout"}
)

// outputs: Tapline has one sink. The first output to Devo itself is it, else the first to a relay,
// else the console.
func (r *reader) outputs(root member) error {
	outputs := root.get("outputs")
	if !outputs.exists() {
		r.note(outputs, "is not here (the hosted form has none): set DEVO_ADDRESS and the certificates yourself")
		return nil
	}
	var chosen member
	rank := 3
	for _, m := range outputs.members() {
		kind, err := r.text(m.get("type"))
		if err != nil {
			return err
		}
		at := slices.IndexFunc([][]string{platform, relays, consoles}, func(names []string) bool { return slices.Contains(names, kind) })
		if at < 0 {
			return r.problem(m.get("type"), "want devo_platform, syslog or console, or one of their other names")
		}
		if at < rank {
			chosen, rank = m, at
		}
	}
	if chosen.node == nil {
		return r.problem(outputs, "has no output")
	}
	for _, m := range outputs.members() {
		if m.path != chosen.path {
			r.note(m, "has no equivalent: one Tapline has one sink, and "+chosen.path+" is it. For a second one run a second Tapline, or replay what is stored to it")
		}
	}
	switch rank {
	case 0:
		return r.platform(chosen)
	case 1:
		return r.relay(chosen)
	}
	r.set("SINK", "stdout", chosen.path)
	return nil
}

// address is host and port of an output.
func (r *reader) address(m member, port string) error {
	c := m.get("config")
	at := c.get("address", "url", "location")
	host, err := r.text(at)
	if err != nil {
		return err
	}
	if host == "" || strings.ContainsAny(host, "/ :") {
		return r.problem(at, "want the name of a host")
	}
	text, err := r.text(c.get("port"))
	if err != nil {
		return err
	}
	if text != "" {
		if n, err := strconv.Atoi(text); err != nil || n < 1 || n > 65535 {
			return r.problem(c.get("port"), "want 1 to 65535")
		}
		port = text
	}
	r.set("DEVO_ADDRESS", host+":"+port, at.path)
	return r.connections(c)
}

func (r *reader) connections(c member) error {
	m := c.get("concurrent_connections")
	text, err := r.text(m)
	if err != nil || text == "" {
		return err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return r.problem(m, "want a number, 1 or more")
	}
	if n > 64 {
		r.note(m, "is more than the 64 connections that one shipper opens: run several shippers")
		n = 64
	}
	r.set("SHIPPER_CONNECTIONS", strconv.Itoa(n), m.path)
	return nil
}

func (r *reader) platform(m member) error {
	c := m.get("config")
	kind, err := r.text(c.get("type"))
	if err != nil {
		return err
	}
	if kind != "" && !strings.EqualFold(kind, "SSL") {
		return r.problem(c.get("type"), "want SSL: rows go to Devo over TLS only")
	}
	if err := r.address(m, "443"); err != nil {
		return err
	}
	for _, f := range [][3]string{{"chain", "chain_loc", "DEVO_CHAIN_FILE"}, {"cert", "cert_loc", "DEVO_CERT_FILE"}, {"key", "key_loc", "DEVO_KEY_FILE"}} {
		at := c.get(f[0], f[1])
		name, err := r.text(at)
		if err != nil {
			return err
		}
		if name == "" {
			return r.problem(at, "is required: the collector refuses to run without it, too")
		}
		r.m.Certificates = append(r.m.Certificates, Certificate{f[2], r.certificate(name)})
	}
	r.leftOver(c, "address", "url", "location", "port", "type", "chain", "chain_loc", "cert", "cert_loc", "key", "key_loc", "concurrent_connections")
	return nil
}

func (r *reader) relay(m member) error {
	at := m.get("config").get("address", "url", "location")
	if host, err := r.text(at); err == nil && (host == "devo.io" || strings.HasSuffix(host, ".devo.io")) {
		return r.problem(at, "is Devo itself, where rows go over TLS only: want type devo_platform, or a relay in your own network")
	}
	if err := r.address(m, "13000"); err != nil {
		return err
	}
	r.set("DEVO_TLS", "false", m.path+".type")
	r.leftOver(m.get("config"), "address", "url", "location", "port", "concurrent_connections")
	return nil
}

func (r *reader) leftOver(m member, used ...string) {
	for _, child := range m.members() {
		if !slices.Contains(used, child.name) {
			r.note(child, "has no equivalent: what is not confirmed is sent again, for as long as the streams keep it")
		}
	}
}

// inputs: the one of Proofpoint TAP.
func (r *reader) inputs(root member) error {
	inputs := root.get("inputs")
	var ours []member
	for _, m := range inputs.members() {
		if r.opts.Input == m.name || (r.opts.Input == "" && strings.Contains(m.name, "proofpoint_tap")) {
			ours = append(ours, m)
			continue
		}
		r.note(m, "is not migrated")
	}
	switch {
	case len(ours) == 0 && r.opts.Input != "":
		return r.problem(inputs, "has no "+r.opts.Input+" (--input)")
	case len(ours) == 0:
		return r.problem(inputs, "has no proofpoint_tap; name the input that it is with --input")
	case len(ours) > 1:
		return r.problem(ours[1], "is the second input of Proofpoint TAP: name one of them with --input, and run one Tapline for each (TENANT)")
	}
	return r.input(ours[0])
}

func (r *reader) input(m member) error {
	enabled, err := r.flag(m.get("enabled"), true)
	if err != nil {
		return err
	}
	if !enabled {
		r.note(m.get("enabled"), "is false; Tapline collects when it runs")
	}
	credentials := m.get("credentials")
	name, err := r.text(credentials.get("username"))
	if err != nil {
		return err
	}
	secret, err := r.text(credentials.get("password"))
	if err != nil {
		return err
	}
	switch {
	case name == "":
		return r.problem(credentials.get("username"), "is required: the principal of Proofpoint's service credential")
	case strings.Contains(name, "'"):
		return r.problem(credentials.get("username"), errQuote.Error())
	case secret == "":
		return r.problem(credentials.get("password"), "is required: the secret of Proofpoint's service credential")
	}
	r.set("TAP_PRINCIPAL", name, credentials.path+".username")
	r.m.Secret = config.Secret(secret)
	for _, child := range m.members() {
		switch child.name {
		case "id":
			r.note(child, "has no equivalent: state is kept by TENANT, feed and time")
		case "environment":
			r.note(child, "has no equivalent: rows have no @devo_environment. Queries that look at it must change")
		case "enabled", "credentials", "services":
		default:
			r.note(child, "has no equivalent")
		}
	}
	return r.services(m.get("services"))
}

// service is what one service of the collector asks for.
type service struct {
	feed      feed.Feed
	start     time.Time // zero if it does not say
	period    int       // seconds; 0 if it does not say
	forensics bool
	campaign  bool // the reports of campaigns for threats, too
}

func (r *reader) services(m member) error {
	var all []service
	for _, child := range m.members() {
		s, on, err := r.service(child)
		if err != nil {
			return err
		}
		if on {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return r.problem(m, "has no service that is on: want some of "+strings.Join(feed.Names(feed.All()), ", "))
	}
	var names []string
	for _, f := range feed.All() {
		if slices.ContainsFunc(all, func(s service) bool { return s.feed == f }) {
			names = append(names, string(f))
		}
	}
	r.set("TAP_FEEDS", strings.Join(names, ","), m.path)
	r.start(m, all)
	r.period(m, all)
	r.forensics(m, all)
	return nil
}

func (r *reader) service(m member) (s service, on bool, err error) {
	s.feed = feed.Feed(m.name)
	if !s.feed.Valid() {
		r.note(m, "is no service of Proofpoint TAP that we know")
		return s, false, nil
	}
	if on, err = r.flag(m.get("enabled"), true); err != nil {
		return s, false, err
	}
	start := m.get("start_time_in_utc_format")
	text, err := r.text(start)
	if err != nil {
		return s, false, err
	}
	if text != "" {
		if s.start, err = instant(text); err != nil {
			return s, false, r.problem(start, "want a time in UTC, such as 2026-05-01T00:00:00Z")
		}
	}
	period := m.get("request_period_in_seconds")
	if text, err = r.text(period); err != nil {
		return s, false, err
	}
	if text != "" {
		if s.period, err = strconv.Atoi(text); err != nil || s.period < 1 || s.period > 7*86400 {
			return s, false, r.problem(period, "want a number of seconds")
		}
	}
	if s.forensics, err = r.flag(m.get("forensics"), false); err != nil {
		return s, false, err
	}
	if s.campaign, err = r.flag(m.get("include_campaign_forensics"), false); err != nil {
		return s, false, err
	}
	for _, child := range m.members() {
		if !slices.Contains([]string{"enabled", "start_time_in_utc_format", "request_period_in_seconds", "forensics", "include_campaign_forensics"}, child.name) {
			r.note(child, "has no equivalent: tables and addresses are fixed")
		}
	}
	return s, on, nil
}

// instant reads the collector's form of time, with or without its Z.
func instant(text string) (at time.Time, err error) {
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly} {
		if at, err = time.Parse(form, text); err == nil {
			return at.UTC(), nil
		}
	}
	return at, fmt.Errorf("time: %w", err)
}
