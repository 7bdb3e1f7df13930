package shipper_test

import (
	"testing"

	"github.com/tapline/tapline/services/shipper"
)

// TestMarks: a member more, and otherwise not a byte changed.
func TestMarks(t *testing.T) {
	t.Parallel()
	const mark = `"@tapline_replay_id":"x"}`
	for row, want := range map[string]string{
		`{"a":1.0,"@tapline_id":"00"}`: `{"a":1.0,"@tapline_id":"00","@tapline_replay_id":"x"}`,
		`{"a":{"b":[]}}`:               `{"a":{"b":[]},"@tapline_replay_id":"x"}`,
		`{"n":1e400,"n":"é\u00e9"}`:    `{"n":1e400,"n":"é\u00e9","@tapline_replay_id":"x"}`,
		`{}`:                           `{"@tapline_replay_id":"x"}`,
		`{ }`:                          `{ "@tapline_replay_id":"x"}`,
		`[1]`:                          `[1]`,
		``:                             ``,
		`}`:                            `}`,
	} {
		if got := string(shipper.AppendMarked([]byte("before"), []byte(row), []byte(mark))); got != "before"+want {
			t.Errorf("%s becomes %s", row, got)
		}
		if got := string(shipper.AppendMarked(nil, []byte(row), nil)); got != row {
			t.Errorf("without a mark %s becomes %s", row, got)
		}
	}
}
