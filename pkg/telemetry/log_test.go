package telemetry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/tapline/tapline/pkg/telemetry"
)

// hostile is what a peer may put into its words: control sequences of both kinds, raw and spelt
// out, direction, bytes that are no text.
const hostile = "x \x1b]0;owned\a\x1b[31m \u009b2J \u202egpj \\x1b[8m \\\\x1b[8m \x9b \r\nforged=1"

// ownColors are the sequences with which the text handler colors levels, keys and values.
var ownColors = regexp.MustCompile("\x1b\\[(2|22|0|9[0-9]|2;9[0-9]|22;9[0-9])?m")

// TestLogsActOnNoTerminal: what is logged of others only shows, in every format.
func TestLogsActOnNoTerminal(t *testing.T) {
	t.Parallel()
	for name, logger := range map[string]func(*bytes.Buffer) *slog.Logger{
		"json":    func(b *bytes.Buffer) *slog.Logger { return telemetry.NewLogger(b, telemetry.Config{LogFormat: "json"}) },
		"text":    func(b *bytes.Buffer) *slog.Logger { return telemetry.NewLogger(b, telemetry.Config{LogFormat: "text"}) },
		"colored": func(b *bytes.Buffer) *slog.Logger { return telemetry.NewTextLogger(b, slog.LevelInfo, true) },
	} {
		var out bytes.Buffer
		logger(&out).With(slog.String("with", hostile)).WithGroup("g").Error(hostile, slog.String("s", hostile), slog.Any("error", errors.New(hostile)),
			slog.Any("bytes", []byte(hostile)), slog.Group("in", slog.Any("list", []string{hostile})))
		text := ownColors.ReplaceAllString(out.String(), "")
		if i := strings.IndexFunc(strings.TrimSuffix(text, "\n"), unicode.IsControl); i >= 0 || strings.ContainsRune(text, '\u202e') || !strings.Contains(text, `u001b]0;owned`) {
			t.Errorf("%s: at %d of %q", name, i, text)
		}
		if name == "json" && !json.Valid(out.Bytes()) {
			t.Errorf("no JSON: %s", &out)
		}
	}
}

// TestProbesActOnNoTerminal: /readyz repeats what others say.
func TestProbesActOnNoTerminal(t *testing.T) {
	t.Parallel()
	h := telemetry.NewHealth()
	h.NotReady("sink", hostile)
	w := httptest.NewRecorder()
	telemetry.Handler(h, telemetry.NewRegistry()).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
	text := strings.TrimSuffix(w.Body.String(), "\n")
	if strings.ContainsFunc(text, unicode.IsControl) || strings.ContainsRune(text, '\u202e') || !json.Valid([]byte(text)) {
		t.Errorf("%q", text)
	}
}
