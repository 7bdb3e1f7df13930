package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
)

type inner struct {
	Port int `env:"PORT" envDefault:"80" usage:"port"`
}

func (i inner) Validate() error {
	if i.Port > 65535 {
		return config.Invalid("PORT", fmt.Sprint(i.Port), "want at most 65535")
	}
	return nil
}

type sample struct {
	Level
	Inner inner
	Feeds []feed.Feed   `env:"FEEDS" envDefault:"clicksBlocked" usage:"feeds"`
	Wait  time.Duration `env:"WAIT" envDefault:"5s" usage:"how long"`
	Token config.Secret `env:"TOKEN,required" usage:"secret"`
}

// Level is embedded.
type Level struct {
	Name string `env:"LEVEL" envDefault:"info" usage:"level"`
}

func TestLoadTakesDefaultsAndValues(t *testing.T) {
	t.Parallel()
	var got sample
	err := config.Load(&got, []string{"PORT=443", "TOKEN=s3cret", "FEEDS=clicksBlocked, messagesDelivered", "WAIT="})
	if err != nil {
		t.Fatal(err)
	}
	if got.Inner.Port != 443 || got.Wait != 5*time.Second || len(got.Feeds) != 2 || got.Name != "info" || got.Token.Reveal() != "s3cret" {
		t.Errorf("%+v", got)
	}
}

func TestLoadReportsEverythingAtOnceAndNoSecret(t *testing.T) {
	t.Parallel()
	err := config.Load(new(sample), []string{"PORT=x", "FEEDS=clicksBlocked,nonsense", "WAIT=5"})
	if !errors.Is(err, config.ErrInvalid) {
		t.Fatalf("%v is not ErrInvalid", err)
	}
	for _, want := range []string{`PORT="x"`, `FEEDS="clicksBlocked,nonsense"`, "messagesDelivered", `WAIT="5"`, "TOKEN: is required"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not mention %s", err, want)
		}
	}
	if err := config.Load(new(sample), []string{"PORT=70000", "TOKEN=s"}); err == nil || !strings.Contains(err.Error(), "want at most 65535") {
		t.Errorf("validation of a nested struct: %v", err)
	}
}

func TestSecretsComeFromFilesToo(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("\ufefffrom file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got sample
	if err := config.Load(&got, []string{"TOKEN_FILE=" + path}); err != nil || got.Token.Reveal() != "from file" {
		t.Errorf("token %q, %v", got.Token.Reveal(), err)
	}
	for content, want := range map[string]string{
		"\ufeffs3cret\r\n": "s3cret", " s3cret \t\n\n": "s3cret", "two words": "two words",
		"\xff\xfes\x003\x00": "UTF-8", "\xfe\xff\x00s": "UTF-8", "s3cret\x00": "UTF-8", "s3cret\nother": "one line", "s3\x1b[cret": "one line", " \r\n": "empty", strings.Repeat("s3cret", 20_000): "UTF-8",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		var got sample
		err := config.Load(&got, []string{"TOKEN_FILE=" + path})
		if (err == nil && got.Token.Reveal() != want) || (err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret"))) {
			t.Errorf("%.20q gives %q, %v; want %s", content, got.Token.Reveal(), err, want)
		}
	}
	for name, environ := range map[string][]string{
		"both given": {"TOKEN_FILE=" + path, "TOKEN=s3cret"},
		"no file":    {"TOKEN_FILE=" + path + ".not"},
	} {
		err := config.Load(new(sample), environ)
		if !errors.Is(err, config.ErrInvalid) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSecretNeverPrints(t *testing.T) {
	t.Parallel()
	s := config.Secret("s3cret")
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", slog.Any("secret", s), slog.Any("in", struct{ S config.Secret }{s}))
	encoded, err := json.Marshal(map[string]any{"a": s})
	if err != nil {
		t.Fatal(err)
	}
	all := log.String() + string(encoded) + fmt.Sprintf("%v %+v %#v %s %q %x", s, s, s, s, s, s)
	if strings.Contains(all, "s3cret") || strings.Contains(all, fmt.Sprintf("%x", "s3cret")) {
		t.Errorf("shows the secret: %s", all)
	}
}

func TestDescribeListsEveryVariable(t *testing.T) {
	t.Parallel()
	var names []string
	for _, v := range config.Describe(new(sample)) {
		names = append(names, v.Name)
		if v.Usage == "" {
			t.Errorf("%s has no usage", v.Name)
		}
	}
	if got := strings.Join(names, " "); got != "LEVEL PORT FEEDS WAIT TOKEN" {
		t.Errorf("variables %s", got)
	}
}

// TestNoPasswordInAnAddressIsPrinted: however the address is mistyped.
func TestNoPasswordInAnAddressIsPrinted(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		"https://user:S3cret@host", "htps://user:S3cret@host/path", "https:user:S3cret@host", "user:S3cret@host:443", "https//user:S3cret@host",
		"https://user:S3cr@S3cret@host", "https://user:S3cret%zz@host", " https://user:S3cret@host", "https://host/?token=S3cret&x=1", "https://host/?a=1&api_key=S3cret",
		"http://S3cret@host", "nats://a:S3cret@one,nats://b:S3cret@two", "S3cret@host", "https://host?S3cret", "https://host/#S3cret", "https://user:S3cret", "https://user:1S3cret/path",
	} {
		err := config.Invalid("URL", value, fmt.Sprintf("%q is not https://host", value))
		if text := err.Error(); strings.Contains(text, "S3cret") || !strings.Contains(text, config.Redacted) {
			t.Errorf("%q is printed as %s", value, text)
		}
	}
	for _, value := range []string{
		"https://host:8443/path", "https://[::1]:8443", "host:443", "5s", "2199-01-01T00:00:00Z", "collector-eu.devo.io", "tap-api-v2.proofpoint.com:443", "18446744073709551615",
		"0a1b2c3d-0000-4000-8000-0123456789ab", "nats://nats:4222,nats://nats-2:4222", "clicksBlocked,people_vap", "", "/etc/tapline/secret",
	} {
		if got := config.RedactAddress(value); got != value {
			t.Errorf("%q is printed as %q", value, got)
		}
	}
}
