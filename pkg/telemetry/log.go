package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/lmittmann/tint"

	"github.com/tapline/tapline/pkg/printable"
)

// NewLogger writes to w as the configuration says: colored text on a terminal, JSON otherwise,
// unless LOG_FORMAT decides. Text from outside is escaped in both: JSON is read on terminals, too.
func NewLogger(w io.Writer, c Config) *slog.Logger {
	terminal := printable.Terminal(w)
	if c.LogFormat == "text" || (c.LogFormat != "json" && terminal) {
		if terminal {
			w = printable.Raw(w) // colors are control sequences
		}
		return newTextLogger(w, c.LogLevel, terminal)
	}
	return slog.New(slog.NewJSONHandler(printable.NewWriter(w), &slog.HandlerOptions{Level: c.LogLevel}))
}

func newTextLogger(w io.Writer, level slog.Level, color bool) *slog.Logger {
	return slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: !color, ReplaceAttr: shown}))
}

// shown makes the message and every value one line that only prints.
func shown(groups []string, a slog.Attr) slog.Attr {
	switch {
	case len(groups) == 0 && a.Key == slog.LevelKey:
		return a
	case a.Value.Kind() == slog.KindString || a.Value.Kind() == slog.KindAny:
		text := printable.Line(fmt.Sprint(a.Value.Any()))
		// Behind its quotes tint turns these four characters into the control character.
		a.Value = slog.StringValue(strings.ReplaceAll(text, `\x1b`, `\u001b`))
	}
	return a
}
