package config

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Address reads the base of an HTTP service. want says what would be right. No part of it can be a
// secret: what is wrong with an address, and what cannot be reached, is printed.
func Address(variable, value, want string) (*url.URL, error) {
	u, err := url.Parse(value)
	switch {
	case err != nil || !plainHost(u) || !slices.Contains([]string{"http", "https"}, u.Scheme):
		return nil, Invalid(variable, value, want)
	case u.User != nil:
		return nil, Invalid(variable, value, want+", without a user or a password")
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return nil, Invalid(variable, value, want+", without ? and #")
	}
	return u, nil
}

// plainHost reports whether an address has a host, and a port that can be one.
func plainHost(u *url.URL) bool {
	if u.Hostname() == "" || strings.ContainsAny(u.Hostname(), " \t,;@") {
		return false
	}
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	n, err := strconv.Atoi(u.Port())
	return err == nil && n > 0 && n < 1<<16
}

// Loopback reports whether a host is this machine, and nothing else can reach what listens there.
func Loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && ip.IsLoopback())
}
