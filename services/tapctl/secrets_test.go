package tapctl_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/program"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/tapctl"
	"github.com/tapline/tapline/services/tapline"
	"github.com/tapline/tapline/services/tapsim"
)

// Secrets as people choose them, and as programs make them: a hexadecimal key, one in base64, a
// token of three parts.
const (
	chosen = "S3cret-Pw"
	hexKey = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	base64 = "x4Tq/8bZ+pLm0Rk9vYwN2sHd7uFjXc3aQe6oG1iKtUM="
	jwt    = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"
)

// leaks are pieces that give a secret away.
var leaks = []string{chosen, hexKey[:20], "pLm0Rk9vYwN2sHd7uFjXc3aQe6oG1iKtUM", "eyJzdWIiOiIxMjM0NTY3ODkwIn0", "dozjgNryP4J3jVmNHl0w5N"}

// mistyped are the places where a secret gets to, in an address or instead of a value.
var mistyped = []string{
	hexKey, base64, jwt, "x," + hexKey, hexKey + "@host", " " + hexKey + " ", "Bearer " + jwt, "https://host/" + hexKey, "https://host/stream/token!" + hexKey,
	"https://user:" + chosen + "@host", "htps://user:" + chosen + "@host/path", "https//user:" + chosen + "@host:443", "user:" + chosen + "@host:443", chosen + "@host",
	"https://" + chosen + "@host", "nats://" + chosen + "@host:4222,nats://b:" + chosen + "@two", "https://user:" + chosen, "https://host:" + chosen + "/x", "host:" + chosen,
	"https://host?t=" + chosen, "https://host/?" + chosen, "https://host/#" + chosen, "http://user:" + chosen + "%zz@host", "socks9://u:" + chosen + "@h",
}

// instead are what stands in the place of a file's name.
var instead = []string{chosen, hexKey, base64, jwt, "/nowhere/" + hexKey, "https://user:" + chosen + "@host"}

// everywhere sets every variable of every program to the same, but for those that decide what else
// is read.
func everywhere(value, file, sink string) (environ []string) {
	for _, target := range []any{new(tapline.Config), new(tapctl.Config), new(tapsim.ProgramConfig), new(devosink.ProgramConfig)} {
		for _, v := range config.Describe(target) {
			switch {
			case v.Name == "SINK" && sink != "", v.Name == "CANARY", v.Name == "DEVO_TLS":
			case v.Secret && file != "":
				environ = append(environ, v.Name+"_FILE="+file)
			case file != "" && strings.HasSuffix(v.Name, "_FILE"):
				environ = append(environ, v.Name+"="+file)
			default:
				environ = append(environ, v.Name+"="+value)
			}
		}
	}
	if sink != "" {
		environ = append(environ, "SINK="+sink, "CANARY=true")
	}
	return environ
}

// TestNoSecretIsPrintedWhereverItStands: each is put into every variable, and every program that
// reads it says what it thinks.
func TestNoSecretIsPrintedWhereverItStands(t *testing.T) {
	t.Parallel()
	named := make(map[string]bool)
	try := func(value, file, sink string) {
		environ := everywhere(value, file, sink)
		var out bytes.Buffer
		tapctl.Execute(t.Context(), tapctl.Process{Args: []string{"check", "--settings"}, Environ: environ, Stdout: &out, Stderr: &out})
		for _, target := range []any{new(tapline.Config), new(tapctl.Config), new(tapsim.ProgramConfig), new(devosink.ProgramConfig)} {
			if err := config.Load(target, environ); err != nil {
				program.Fail(&out, "x", err)
			}
		}
		for line := range strings.Lines(out.String()) {
			for _, leak := range leaks {
				if strings.Contains(line, leak) {
					t.Errorf("%s, %s: %s", value, file, line)
				}
			}
			if _, said, _ := strings.Cut(line, ": "); strings.Contains(said, config.Redacted) {
				name, _, _ := strings.Cut(said, "=")
				named[name] = true
			}
		}
	}
	for _, value := range mistyped {
		try(value, "", "")
	}
	for _, file := range instead {
		try("", file, "devo")
	}
	for _, value := range []string{base64, "htps://user:" + chosen + "@host/path", "https://host/" + hexKey, "https://host?t=" + chosen} {
		try(value, "", "devo-http")
	}
	for _, name := range []string{
		"TAP_URL", "TAP_FEEDS", "NATS_URL", "SINK", "DEVO_KEY_FILE", "DEVO_HTTP_URL", "DEVO_QUERY_URL", "TAP_SECRET_FILE", "HTTPS_PROXY", "TENANT",
		"OTEL_EXPORTER_OTLP_ENDPOINT", "HTTP_ADDR", "LOG_LEVEL", "FETCHER_WORKERS", "TAP_INSECURE_HTTP", "TAP_POLL_INTERVAL", "EXPAND_RATE", "TAPSIM_RATE",
	} {
		if !named[name] {
			t.Errorf("nothing is hidden in %s", name)
		}
	}
}

// TestNoSecretIsPrintedWhenNothingAnswers: errors of connections and of proxies name no
// credentials.
func TestNoSecretIsPrintedWhenNothingAnswers(t *testing.T) {
	t.Parallel()
	for name, environ := range map[string][]string{
		"user":  {"NATS_URL=nats://user:" + chosen + "@127.0.0.1:9", "HTTPS_PROXY=http://user:" + chosen + "@127.0.0.1:9", "TAP_URL=https://tap.example.com", "SINK=devo-http", "DEVO_HTTP_URL=https://devo.example.com"},
		"token": {"NATS_URL=nats://" + hexKey + "@127.0.0.1:9", "https_proxy=socks5://user:" + chosen + "@127.0.0.1:9", "TAP_URL=https://tap.example.com", "SINK=devo-http", "DEVO_HTTP_URL=https://devo.example.com"},
		"plain": {"NATS_URL=nats://127.0.0.1:9", "NATS_USER=u", "NATS_PASSWORD=" + chosen, "TAP_URL=http://127.0.0.1:9", "TAP_INSECURE_HTTP=true", "SINK=devo-http", "DEVO_HTTP_URL=http://127.0.0.1:9", "DEVO_HTTP_INSECURE=true"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			environ = append(environ, "TAP_PRINCIPAL=p", "TAP_SECRET="+hexKey, "DEVO_HTTP_DOMAIN=d", "DEVO_HTTP_TOKEN="+hexKey, "DEVO_QUERY_URL=https://query.example.com", "DEVO_QUERY_TOKEN="+hexKey)
			code := tapctl.Execute(t.Context(), tapctl.Process{Args: []string{"check"}, Environ: environ, Stdout: &out, Stderr: &out})
			if code != 3 || strings.Count(out.String(), "FAILED") < 3 {
				t.Errorf("status %d: %s", code, &out)
			}
			for _, leak := range leaks {
				if strings.Contains(out.String(), leak) {
					t.Errorf("%s is printed: %s", leak, &out)
				}
			}
		})
	}
}
