//go:build compose

package compose_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
)

// replay sends the rows of the last hour again, to a file, and expects by id what the sink got
// first.
func (s *stack) replay(a *account) {
	s.t.Helper()
	a.drain()
	first := maps.Clone(a.ids)
	if out, err := s.tapctl("replay", "--from", "1h", "--all", "--sink", "file", "--rate", "100000"); err != nil {
		s.t.Fatalf("tapctl replay: %v: %s", err, out)
	}
	dir := s.t.TempDir()
	docker(s.t, "cp", s.containers("shipper")[0]+":/data/.", dir)
	files, err := filepath.Glob(filepath.Join(dir, "events.replay-*.jsonl"))
	if err != nil || len(files) != 1 {
		s.t.Fatalf("files of the replay: %v, %v", files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		s.t.Fatal(err)
	}
	again := map[string]bool{}
	each(s.t, data, func(line []byte) {
		var row struct {
			Table string `json:"table"`
			Event struct {
				ID     string `json:"@tapline_id"`
				Replay string `json:"@tapline_replay_id"`
			} `json:"event"`
		}
		if err := json.Unmarshal(line, &row); err != nil || row.Event.Replay == "" {
			s.t.Fatalf("row of a replay: %v: %.200s", err, line)
		}
		again[row.Table+" "+row.Event.ID] = true
	})
	missing, more := 0, 0
	for id := range first {
		if !again[id] {
			missing++
		}
	}
	for id := range again {
		if !first[id] {
			more++
		}
	}
	if missing > 0 || more > 0 || len(first) == 0 {
		s.t.Errorf("of %d rows that were delivered %d were not replayed, and %d were that were not delivered", len(first), missing, more)
	}
	s.t.Logf("replayed an hour: %d rows, by id what was delivered first", len(again))
	s.compose("start", "fetcher")
}
