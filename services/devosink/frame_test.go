package devosink_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tapline/tapline/services/devosink"
)

// chunks reads a stream in pieces of given sizes, again and again.
type chunks struct {
	data  []byte
	sizes []int
	turn  int
}

// Read implements io.Reader.
func (c *chunks) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := min(len(p), len(c.data), c.sizes[c.turn%len(c.sizes)])
	c.turn++
	copy(p, c.data[:n])
	c.data = c.data[n:]
	return n, nil
}

func frames(tb testing.TB, r io.Reader) (out []devosink.Frame) {
	tb.Helper()
	reader := devosink.NewFrameReader(r)
	for {
		f, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			tb.Fatal(err)
		}
		f.Raw = bytes.Clone(f.Raw)
		out = append(out, f)
	}
}

// TestFramesComeOutAsTheyWentIn, whatever their framing and however the stream
// is cut into reads.
func TestFramesComeOutAsTheyWentIn(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOfN(rapid.StringMatching(`<14>[ -~é]{0,60}[!-~]`), 1, 20).Draw(t, "texts")
		var stream []byte
		for i, text := range texts {
			switch rapid.IntRange(0, 3).Draw(t, fmt.Sprint("framing", i)) {
			case 0:
				stream = append(append(stream, text...), '\n')
			case 1:
				stream = append(append(stream, text...), "\r\n\x00"...)
			case 2:
				stream = fmt.Appendf(stream, "%d %s", len(text), text)
			case 3:
				var b bytes.Buffer
				z := gzip.NewWriter(&b)
				fmt.Fprintln(z, text)
				if err := z.Close(); err != nil {
					t.Fatal(err)
				}
				stream = append(stream, b.Bytes()...)
			}
		}
		sizes := rapid.SliceOfN(rapid.IntRange(1, 100), 1, 10).Draw(t, "sizes")
		var got []string
		reader := devosink.NewFrameReader(&chunks{data: stream, sizes: sizes})
		for {
			f, err := reader.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || f.Partial {
				t.Fatalf("%v, partial %v", err, f.Partial)
			}
			got = append(got, string(f.Raw))
		}
		if !slices.Equal(got, texts) {
			t.Fatalf("got %q, want %q", got, texts)
		}
	})
}

func TestStreamThatEndsInsideAFrame(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"<14>whole\n<14>half", "<14>whole\n20 <14>half"} {
		got := frames(t, bytes.NewReader([]byte(text)))
		if len(got) != 2 || got[0].Partial || !got[1].Partial || string(got[1].Raw) != "<14>half" {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("<14>2026-03-11 08:00:00.123 host my.tag: {\"a\":1}\n"))
	f.Add([]byte("17 <14>a counted one<14>x\r\n\x1f\x8b"))
	f.Add([]byte("17"))                // ends inside a length
	f.Add([]byte("text \x00<1x>text")) // a NUL ends a line; a priority is no number
	f.Fuzz(func(t *testing.T, data []byte) {
		reader := devosink.NewFrameReader(bytes.NewReader(data))
		total := 0
		for {
			frame, err := reader.Next()
			if err != nil {
				break
			}
			if len(frame.Raw) == 0 && frame.Kind == devosink.Line {
				t.Fatal("an empty frame")
			}
			if !frame.Zipped {
				total += len(frame.Raw)
			}
			h := devosink.ParseHeader(frame.Raw)
			if !bytes.HasSuffix(frame.Raw, h.Message) {
				t.Fatalf("message %q is not the end of %q", h.Message, frame.Raw)
			}
		}
		if total > len(data) {
			t.Fatalf("%d bytes out of %d", total, len(data))
		}
	})
}

func TestHeader(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string][3]string{
		`<14>2026-03-11 08:00:00.123 host-1 my.app.tag: {"a": "b: c"}`: {"host-1", "my.app.tag", `{"a": "b: c"}`},
		`<14>2026-03-11T08:00:00.123+01:00 host my.tag: text`:          {"host", "my.tag", "text"},
		`<14>Mar 11 08:00:00 host my.tag: text`:                        {"host", "my.tag", "text"},
		`<14>1 2026-03-11T08:00:00Z host my.tag - - - text`:            {"host", "my.tag", "text"},
		`no header at all`: {"", "", "no header at all"},
		`<14>`:             {"", "", ""},
		`<999999>x`:        {"", "", "<999999>x"},
	} {
		h := devosink.ParseHeader([]byte(raw))
		if string(h.Host) != want[0] || string(h.Tag) != want[1] || string(h.Message) != want[2] {
			t.Errorf("%q: host %q, tag %q, message %q", raw, h.Host, h.Tag, h.Message)
		}
	}
}

func BenchmarkFrames(b *testing.B) {
	line := []byte("<14>2026-03-11 08:00:00.123 host my.app.tag: {\"a\":\"" + string(bytes.Repeat([]byte("words "), 150)) + "\"}\n")
	data := bytes.Repeat(line, 1000)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if n := len(frames(b, bytes.NewReader(data))); n != 1000 {
			b.Fatal(n)
		}
	}
}
