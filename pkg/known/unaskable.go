package known

import (
	"context"

	"github.com/tapline/tapline/pkg/feed"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// An id that Proofpoint cannot be asked for goes to DEAD once, whatever names it, and for whichever
// call: the memory of it lasts as long as the dead letter does, 30 days.

// DeadLettered reports whether such an id has its dead letter.
func (m *Memory) DeadLettered(ctx context.Context, call feed.Call, id string) (bool, error) {
	k, _, err := m.read(ctx, subject(call), id)
	return len(k.GetVersions()) > 0, err
}

// RecordDeadLetter records that such an id has its dead letter. Store the letter first.
func (m *Memory) RecordDeadLetter(ctx context.Context, call feed.Call, id string) error {
	return m.Complete(ctx, subject(call), id, 0, &taplinev1.Target{Id: id})
}

// DeadLetterID names the letter, which has the id as its payload: processes that find the same id
// at the same time store it once.
func DeadLetterID(tenant string, call feed.Call) string {
	return "unaskable/" + tenant + "/" + string(subject(call))
}

// subject is the call for what a call is about: one id has one letter, also when its forensics are
// wanted, too.
func subject(call feed.Call) feed.Call {
	switch call {
	case feed.CallThreatForensics:
		return feed.CallThreat
	case feed.CallCampaignForensics:
		return feed.CallCampaign
	default:
		return call
	}
}
