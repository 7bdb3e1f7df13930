package config

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// Proxy is the way out for HTTP. net/http would take a proxy that cannot be read for none, and
// connect directly.
type Proxy struct {
	HTTPS string `env:"HTTPS_PROXY" usage:"proxy for https, such as http://proxy:3128, or socks5://proxy:1080; https_proxy is read, too"`
	HTTP  string `env:"HTTP_PROXY" usage:"proxy for plain http; http_proxy is read, too"`
	Not   string `env:"NO_PROXY" usage:"hosts, domains and networks that are reached without a proxy, separated by commas; no_proxy is read, too"`
}

// lowered are the variables that are also read in lower case, which comes first as in curl and Go.
var lowered = []string{"HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"}

// Validate refuses what net/http would pass over in silence.
func (p Proxy) Validate() error {
	return errors.Join(checkProxy("HTTPS_PROXY", p.HTTPS), checkProxy("HTTP_PROXY", p.HTTP), p.checkNot())
}

func checkProxy(variable, value string) error {
	const want = "want http://host:port, https://host:port or socks5://host:port; connections would go around the proxy"
	if value == "" {
		return nil
	}
	address := value
	if !strings.Contains(value, "://") {
		address = "http://" + value
	}
	u, err := url.Parse(address)
	if err != nil || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) || !plainHost(u) ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return Invalid(variable, value, want)
	}
	return nil
}

func (p Proxy) checkNot() error {
	for entry := range strings.SplitSeq(p.Not, ",") {
		entry = strings.TrimSpace(entry)
		_, _, err := net.ParseCIDR(entry)
		if (strings.Contains(entry, "/") && err != nil) || strings.ContainsAny(entry, " ;|\t") {
			return Invalid("NO_PROXY", p.Not, "want hosts, .domains, addresses or networks such as 10.0.0.0/8, separated by commas")
		}
	}
	return nil
}

// For is the proxy of a request, for http.Transport.
func (p Proxy) For() func(*http.Request) (*url.URL, error) {
	choose := (&httpproxy.Config{HTTPSProxy: p.HTTPS, HTTPProxy: p.HTTP, NoProxy: p.Not}).ProxyFunc()
	return func(r *http.Request) (*url.URL, error) { return choose(r.URL) }
}
