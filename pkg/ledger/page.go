package ledger

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Part says which stage wrote a page.
type Part string

// The parts, in flow order.
const (
	PartRead Part = "read"
	PartMade Part = "made"
	PartWant Part = "want"
	PartSent Part = "sent"
	PartPlan Part = "plan"
)

const hourForm = "20060102.15"

// Key is where a part of the account of one hour is kept.
func Key(part Part, tenant string, hour time.Time) string {
	return string(part) + "." + tenant + "." + hour.UTC().Format(hourForm)
}

// hourOf is the hour that a key of [Key] is about.
func hourOf(key string) (time.Time, error) {
	parts := strings.SplitN(key, ".", 3)
	if len(parts) != 3 {
		return time.Time{}, fmt.Errorf("%w: key %q", errMalformed, key)
	}
	hour, err := time.Parse(hourForm, parts[2])
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: key %q: %w", errMalformed, key, err)
	}
	return hour, nil
}

// DecodePage reads a page; nothing is an empty one.
func DecodePage(data []byte) (*taplinev1.LedgerPage, error) {
	page := &taplinev1.LedgerPage{}
	if err := proto.Unmarshal(data, page); err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return page, nil
}

// putWindow notes what became of a job. A job that is stored stays stored, whatever a
// straggler says.
func putWindow(page *taplinev1.LedgerPage, w *taplinev1.WindowRecord) {
	for i, have := range page.GetWindows() {
		if have.GetJobId() != w.GetJobId() {
			continue
		}
		if have.GetState() == taplinev1.WindowState_WINDOW_STATE_FETCHED && w.GetState() != taplinev1.WindowState_WINDOW_STATE_FETCHED {
			return
		}
		if w.GetAttempts() == 0 { // derived from the marker, which does not know
			w.Attempts, w.SkewMs = have.GetAttempts(), have.GetSkewMs()
		}
		page.Windows[i] = w
		return
	}
	page.Windows = append(page.Windows, w)
}

// putBatch notes what became of a batch. The time of the first note stays.
func putBatch(list []*taplinev1.BatchRecord, b *taplinev1.BatchRecord) []*taplinev1.BatchRecord {
	for i := len(list) - 1; i >= 0; i-- { // repetitions are of late
		if have := list[i]; have.GetRawSequence() == b.GetRawSequence() && have.GetTable() == b.GetTable() && have.GetPart() == b.GetPart() {
			b.AtMs = have.GetAtMs()
			list[i] = b
			return list
		}
	}
	return append(list, b)
}

// putWant notes what a batch asks to be expanded.
func putWant(page *taplinev1.LedgerPage, w *taplinev1.WantRecord) {
	for i := len(page.GetWants()) - 1; i >= 0; i-- {
		if page.GetWants()[i].GetRawSequence() == w.GetRawSequence() {
			return // a repetition finds known what the first one ordered
		}
	}
	page.Wants = append(page.Wants, w)
}

// putRange notes a range; the first note of a state stays.
func putRange(page *taplinev1.LedgerPage, r *taplinev1.RangeRecord) {
	for _, have := range page.GetRanges() {
		if have.GetState() == r.GetState() && proto.Equal(have.GetWindow(), r.GetWindow()) &&
			strings.Join(have.GetFeeds(), "-") == strings.Join(r.GetFeeds(), "-") {
			return
		}
	}
	page.Ranges = append(page.Ranges, r)
}
