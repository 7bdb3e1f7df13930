package enricher

import (
	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/identity"
)

// Converter makes the rows of one RAW message, without a bus.
func Converter(data []byte) func() {
	e := &Enricher{cfg: Config{PullID: true, Identity: identity.Config{TaplineID: true}}}
	ws := &workspace{}
	return func() {
		if err := batch.DecodeRaw(data, &ws.raw); err != nil {
			panic(err)
		}
		e.convert(ws, 1, "mail.proofpoint.tapsiem_v2.clicksblocked", order{})
	}
}
