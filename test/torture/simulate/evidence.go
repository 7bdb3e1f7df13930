package simulate

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// answer is what is proven of a window.
type answer struct {
	records map[string][]json.RawMessage // by feed
	end     time.Time                    // up to where; zero for all of it
}

// rounding is how much earlier than the end asked for an answer may say it ends.
const rounding = time.Second

// read holds an answer against what was asked, by the rules of the fetcher in a few words. flaw
// says what is missing.
func read(j *taplinev1.Job, status int, body []byte) (a *answer, flaw string) {
	a = &answer{records: make(map[string][]json.RawMessage)}
	if status == http.StatusNoContent {
		return a, ""
	}
	var members map[string]json.RawMessage
	if status != http.StatusOK || json.Unmarshal(body, &members) != nil {
		return nil, fmt.Sprintf("status %d: %.60s", status, body)
	}
	if said, ok := members["error"]; ok {
		return nil, "it says error: " + string(said)
	}
	for _, name := range j.GetFeeds() {
		var list []json.RawMessage
		if err := json.Unmarshal(members[name], &list); err != nil {
			return nil, "no array " + name
		}
		a.records[name] = list
	}
	var text string
	if err := json.Unmarshal(members["queryEndTime"], &text); err != nil {
		return nil, "no queryEndTime"
	}
	end, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return nil, "queryEndTime is " + text
	}
	if asked := j.GetWindow().GetEnd().AsTime(); end.Before(asked.Add(-rounding)) {
		if !end.After(j.GetWindow().GetStart().AsTime()) {
			return nil, "queryEndTime is " + text
		}
		a.end = end
	}
	return a, ""
}
