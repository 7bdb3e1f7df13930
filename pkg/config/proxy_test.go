package config_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tapline/tapline/pkg/config"
)

type client struct{ Proxy config.Proxy }

// TestMalformedProxyIsNoDirectConnection: net/http would take each of these for no proxy, or for
// another one.
func TestMalformedProxyIsNoDirectConnection(t *testing.T) {
	t.Parallel()
	for _, set := range []string{
		"HTTPS_PROXY=htps://user:S3cret@proxy:3128", "https_proxy=http://user:S3cret@proxy:31 28", "HTTP_PROXY=ftp://proxy:21", "http_proxy=socks4://user:S3cret@proxy:1080",
		"HTTPS_PROXY=http:/proxy:3128", "HTTPS_PROXY=http//proxy:3128", "HTTPS_PROXY=proxy:S3cret", "HTTPS_PROXY=http://proxy:70000", "HTTPS_PROXY=http://", "HTTPS_PROXY=:3128",
		"HTTPS_PROXY=http://user:S3cret@", "HTTPS_PROXY=http://proxy:3128/path", "HTTPS_PROXY=http://proxy:3128?x=S3cret", "HTTPS_PROXY=\x7f", "HTTPS_PROXY=http://one:1,http://two:2", "HTTPS_PROXY=http://proxy:",
		"NO_PROXY=10.0.0.0/99", "NO_PROXY=http://host", "no_proxy=one two", "NO_PROXY=one;two",
	} {
		err := config.Load(new(client), []string{set})
		name, _, _ := strings.Cut(set, "=")
		if err == nil || !strings.Contains(err.Error(), strings.ToUpper(name)+"=") || !strings.Contains(err.Error(), "want ") || strings.Contains(err.Error(), "S3cret") {
			t.Errorf("%s: %v", set, err)
		}
	}
}

func TestProxyOfARequest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ set, to, want string }{
		{"HTTPS_PROXY=http://user:pw@proxy:3128", "https://tap-api-v2.proofpoint.com", "http://user:pw@proxy:3128"},
		{"HTTPS_PROXY=proxy:3128", "https://tap-api-v2.proofpoint.com", "http://proxy:3128"},
		{"https_proxy=socks5h://proxy:1080", "https://tap-api-v2.proofpoint.com", "socks5h://proxy:1080"},
		{"HTTP_PROXY=http://[::1]:3128/", "http://relay", "http://[::1]:3128/"},
		{"HTTP_PROXY=http://proxy:3128", "https://tap-api-v2.proofpoint.com", ""},
		{"HTTPS_PROXY=http://proxy:3128", "https://127.0.0.1:1", ""},
		{"NO_PROXY=.proofpoint.com, 10.0.0.0/8,[::1]:80,*", "https://tap-api-v2.proofpoint.com", ""},
		{"", "https://tap-api-v2.proofpoint.com", ""},
	} {
		environ := []string{c.set}
		if strings.HasPrefix(c.set, "NO_PROXY") {
			environ = append(environ, "HTTPS_PROXY=http://proxy:3128")
		}
		var got client
		if err := config.Load(&got, environ); err != nil {
			t.Errorf("%s: %v", c.set, err)
			continue
		}
		to, err := url.Parse(c.to)
		if err != nil {
			t.Fatal(err)
		}
		through, err := got.Proxy.For()(&http.Request{URL: to})
		shown := ""
		if through != nil {
			shown = through.String()
		}
		if shown != c.want || err != nil {
			t.Errorf("%s to %s goes through %q, want %q: %v", c.set, c.to, shown, c.want, err)
		}
	}
}
