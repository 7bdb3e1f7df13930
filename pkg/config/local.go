package config

import (
	"net/netip"
	"strings"
)

// Local reports whether a host is this machine or, by the look of its name, one
// that only a compose network resolves. Only there may credentials travel in clear.
func Local(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback()
	}
	return host != "" && !strings.Contains(host, ".")
}
