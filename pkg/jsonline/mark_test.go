package jsonline_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tapline/tapline/pkg/jsonline"
)

func TestSkipMark(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for in, want := range map[string]string{
		"": "", "{}": "{}", "{\"a\":1}": "{\"a\":1}", "\ufeff{\"a\":1}": "{\"a\":1}", "\ufeff": "", "\ufeff\ufeff{}": "\ufeff{}", "{\ufeff}": "{\ufeff}", "\xef\xbb": "\xef\xbb",
	} {
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(in), "bytes": iotest.OneByteReader(strings.NewReader(in))} {
			if got, err := io.ReadAll(jsonline.SkipMark(r)); err != nil || string(got) != want {
				t.Errorf("%s: %q is read as %q, %v", name, in, got, err)
			}
		}
		got, err := io.ReadAll(jsonline.SkipMark(io.MultiReader(strings.NewReader(in), iotest.ErrReader(broken))))
		if !errors.Is(err, broken) || !bytes.Equal(got, []byte(want)) {
			t.Errorf("%q, then an error, is read as %q, %v", in, got, err)
		}
	}
}
