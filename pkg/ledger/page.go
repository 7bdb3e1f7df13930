package ledger

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/wire"
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
	if err := wire.Unmarshal(data, page); err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return page, nil
}

// putJob enters the outcome of a job. A job that is stored stays stored, whatever a straggler says.
// That a job was asked for in vain says less than any other outcome, and less than a later failure.
func putJob(page *taplinev1.LedgerPage, w *taplinev1.JobRecord) {
	for i, have := range page.GetWindows() {
		if have.GetJobId() != w.GetJobId() {
			continue
		}
		if outranked(have, w) {
			return
		}
		w = proto.CloneOf(w)      // it may be applied to another page again
		if w.GetAttempts() == 0 { // derived from the marker, which does not know
			w.Attempts = have.GetAttempts()
		}
		w.Calls = calls(have, w)
		page.Windows[i] = w
		return
	}
	page.Windows = append(page.Windows, w)
}

// calls is how many calls a job took when a record follows another: an unproven one counts those
// since the record before. The same record may be repeated.
func calls(have, w *taplinev1.JobRecord) uint32 {
	vain := have.GetState() == taplinev1.WindowState_WINDOW_STATE_UNPROVEN
	if vain && (w.GetState() != have.GetState() || w.GetFailures() > have.GetFailures()) {
		return have.GetCalls() + w.GetCalls()
	}
	return max(have.GetCalls(), w.GetCalls())
}

func outranked(have, w *taplinev1.JobRecord) bool {
	switch {
	case w.GetState() == taplinev1.WindowState_WINDOW_STATE_FETCHED:
		return false
	case w.GetState() == taplinev1.WindowState_WINDOW_STATE_UNPROVEN && have.GetState() == w.GetState():
		return have.GetFailures() > w.GetFailures()
	default:
		return have.GetState() == taplinev1.WindowState_WINDOW_STATE_FETCHED || w.GetState() == taplinev1.WindowState_WINDOW_STATE_UNPROVEN
	}
}

// putBatch enters the outcome of a batch. The time of the first record stays.
func putBatch(list []*taplinev1.BatchRecord, b *taplinev1.BatchRecord) []*taplinev1.BatchRecord {
	if i := findBatch(list, b); i >= 0 {
		b.AtMs = list[i].GetAtMs()
		list[i] = b
		return list
	}
	return append(list, b)
}

func findBatch(list []*taplinev1.BatchRecord, b *taplinev1.BatchRecord) int {
	for i, have := range slices.Backward(list) { // duplicates are usually recent
		if have.GetRawSequence() == b.GetRawSequence() && have.GetTable() == b.GetTable() && have.GetPart() == b.GetPart() {
			return i
		}
	}
	return -1
}

// putSent enters the outcome of a batch at a sink.
func putSent(page *taplinev1.LedgerPage, s Delivery) {
	b := s.Batch
	i := findBatch(page.GetSent(), b)
	switch {
	case s.Part:
		page.Resent = putAgain(page.GetResent(), b)
	case s.Remaker != "":
		first := proto.CloneOf(b)
		first.ReplayId, first.Remade, first.CarrierId = s.Remaker, true, b.GetReplayId()
		if have := findAgain(page.GetResent(), first); have < 0 || page.GetResent()[have].GetCarrierId() == b.GetReplayId() || b.GetReplayId() == "" {
			page.Resent = putAgain(page.GetResent(), first)
			return
		}
		page.Resent = putAgain(page.GetResent(), b)
	case i < 0 || page.GetSent()[i].GetReplayId() == b.GetReplayId():
		page.Sent = putBatch(page.GetSent(), b)
	case b.GetReplayId() == "": // a replay was faster: now its rows are those that came twice
		page.Resent = putAgain(page.GetResent(), page.GetSent()[i])
		page.Sent = putBatch(page.GetSent(), b)
	default:
		page.Resent = putAgain(page.GetResent(), b)
	}
}

// findAgain finds the rows of one message of EVENTS among those of one order.
func findAgain(list []*taplinev1.BatchRecord, b *taplinev1.BatchRecord) int {
	return slices.IndexFunc(list, func(have *taplinev1.BatchRecord) bool {
		return have.GetEventSequence() == b.GetEventSequence() && have.GetReplayId() == b.GetReplayId() && have.GetRemade() == b.GetRemade() &&
			have.GetRawSequence() == b.GetRawSequence() && have.GetTable() == b.GetTable()
	})
}

// putAgain enters rows that were resent or reprocessed. The time of the first record stays.
func putAgain(list []*taplinev1.BatchRecord, b *taplinev1.BatchRecord) []*taplinev1.BatchRecord {
	if i := findAgain(list, b); i >= 0 {
		b.AtMs = list[i].GetAtMs()
		list[i] = b
		return list
	}
	return append(forget(list, b), b)
}

// maxOrders bounds the orders whose repetitions one page lists. Ids of orders sort by age.
const maxOrders = 16

// forget makes room for the first entry of an order: that of the oldest goes.
func forget(list []*taplinev1.BatchRecord, b *taplinev1.BatchRecord) []*taplinev1.BatchRecord {
	orders := make(map[string]struct{}, maxOrders+1)
	oldest := b.GetReplayId()
	for _, have := range slices.Backward(list) { // those of an order follow each other
		if have.GetReplayId() == b.GetReplayId() && have.GetRemade() == b.GetRemade() {
			return list
		}
		if have.GetRemade() == b.GetRemade() {
			orders[have.GetReplayId()] = struct{}{}
			oldest = min(oldest, have.GetReplayId())
		}
	}
	if len(orders) < maxOrders {
		return list
	}
	return slices.DeleteFunc(list, func(have *taplinev1.BatchRecord) bool {
		return have.GetReplayId() == oldest && have.GetRemade() == b.GetRemade()
	})
}

// putLookups enters the lookups that a batch asks for.
func putLookups(page *taplinev1.LedgerPage, w *taplinev1.LookupRecord) {
	for i := len(page.GetWants()) - 1; i >= 0; i-- {
		if page.GetWants()[i].GetRawSequence() == w.GetRawSequence() {
			return // a repetition finds known what the first one ordered
		}
	}
	page.Wants = append(page.Wants, w)
}

// putRange enters a range. A repetition renews when it was lost: what is read later is not.
func putRange(page *taplinev1.LedgerPage, r *taplinev1.RangeRecord) {
	for _, have := range page.GetRanges() {
		if have.GetState() == r.GetState() && proto.Equal(have.GetWindow(), r.GetWindow()) &&
			strings.Join(have.GetFeeds(), "-") == strings.Join(r.GetFeeds(), "-") {
			if r.GetState() == taplinev1.WindowState_WINDOW_STATE_LOST {
				have.At, have.Reason = r.GetAt(), r.GetReason()
			}
			return
		}
	}
	page.Ranges = append(page.Ranges, r)
}
