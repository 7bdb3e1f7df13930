package shipper_test

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/shipper"
)

// web is a stand-in for Devo's HTTP endpoint and the variables that lead to it.
func web(t *testing.T, faults ...devosink.Fault) (*devosink.Sink, []string) {
	t.Helper()
	sink, err := devosink.New(devosink.Config{Mode: devosink.Full})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sink.Ingest("corp", httpToken))
	t.Cleanup(func() {
		server.Close()
		_ = sink.Close()
	})
	for _, f := range faults {
		if err := sink.Inject(f); err != nil {
			t.Fatal(err)
		}
	}
	return sink, append(slices.Clone(proofs["http"]), "DEVO_HTTP_URL="+server.URL, "DEVO_HOSTNAME=collector-1")
}

// deadLetters are those in DEAD, in order.
func deadLetters(t *testing.T, b *bus.Bus) (all []*taplinev1.DeadLetter) {
	t.Helper()
	usage, err := b.Usage(t.Context(), bus.StreamDead)
	if err != nil {
		t.Fatal(err)
	}
	for at := usage.First; usage.Messages > 0 && at <= usage.Last; at++ {
		m, err := b.Message(t.Context(), bus.StreamDead, at)
		if err != nil {
			t.Fatal(err)
		}
		l := &taplinev1.DeadLetter{}
		if err := proto.Unmarshal(m.Data, l); err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

// TestRefusedRowsGoToDeadAlone: rows that the endpoint refuses with 413 or 400 go to DEAD, each
// alone, wherever they stand; the thousand others arrive once. Nothing shows at first that the rows
// are to blame: those at the head are all that there is.
func TestRefusedRowsGoToDeadAlone(t *testing.T) {
	t.Parallel()
	for _, connections := range []int{1, 2} {
		t.Run(fmt.Sprint(connections), func(t *testing.T) {
			t.Parallel()
			sink, environ := web(t, devosink.Fault{Kind: devosink.FaultRefuseLong, Bytes: 1000}, devosink.Fault{Kind: devosink.FaultRefuseText, Text: "poison"})
			b := bustest.Start(t)
			long := strings.Repeat("x", 1000)
			fillWith(t, b, load{0, 2, 1, "poison"}) // one for each connection
			want := []string{"400 " + rowWith(0, "poison"), "400 " + rowWith(1, "poison")}
			var good []string
			for i := range 10 {
				e := batch.Events{Tenant: "main", Table: table, Feed: "clicksBlocked", JobID: "job", SourceSequence: uint64(100 * (i + 1))}
				for j := range 100 {
					n := 100*(i+1) + j
					text := "fine"
					switch n {
					case 150, 1099:
						text = long
						want = append(want, "413 "+rowWith(n, text))
					case 700:
						text = "poison"
						want = append(want, "400 "+rowWith(n, text))
					default:
						good = append(good, rowWith(n, text))
					}
					e.Events = append(e.Events, batch.Event{PullMS: pulled, JSON: []byte(rowWith(n, text))})
				}
				publish(t, b, &e)
			}
			var s *shipper.Shipper
			r := prepared(t, shipper.Deps{Bus: b}, append(environ, fmt.Sprintf("SHIPPER_CONNECTIONS=%d", connections)), func(made *shipper.Shipper) {
				s = made
				s.SetDoubt(500*time.Millisecond, 5*time.Second)
			})
			settled(t, b)
			if n := s.Doubts(); n > 0 {
				t.Errorf("%d messages are remembered that are settled", n)
			}
			trial{}.compare(t, sink, good)
			if s := sink.Snapshot(); s.Duplicates > 0 {
				t.Errorf("%d rows arrived again", s.Duplicates)
			}
			var have []string
			for _, l := range deadLetters(t, b) {
				_, status, _ := strings.Cut(l.GetReason(), "status ")
				have = append(have, status[:min(3, len(status))]+" "+string(l.GetPayload()))
				if l.GetTable() != table || l.GetStage() != "shipper" || len(l.GetReason()) > 2000 {
					t.Errorf("%.300v", l)
				}
			}
			slices.Sort(have)
			slices.Sort(want)
			if !slices.Equal(have, want) {
				t.Errorf("DEAD has %q, want %q", have, want)
			}
			if failures := r.value(t, "tapline_shipper_connection_failures_total"); failures > 0 {
				t.Errorf("%v connections failed", failures)
			}
		})
	}
}

// TestAnEndpointThatRefusesEverythingIsAnOutage: no row goes to DEAD for it, and all arrive when it
// is over.
func TestAnEndpointThatRefusesEverythingIsAnOutage(t *testing.T) {
	t.Parallel()
	sink, environ := web(t, devosink.Fault{Kind: devosink.FaultStatus, Bytes: 400})
	b := bustest.Start(t)
	fill(t, b, 0, 20, 30)
	var s *shipper.Shipper
	r := prepared(t, shipper.Deps{Bus: b}, environ, func(made *shipper.Shipper) { s = made })
	poll(t, "an outage", func() bool { return r.value(t, "tapline_shipper_sink_up") == 0 })
	if requests := sink.Snapshot().Connections; requests > 20*40 {
		t.Errorf("%d requests: an endpoint that refuses everything is asked about each row", requests)
	}
	if err := sink.Clear(); err != nil {
		t.Fatal(err)
	}
	settled(t, b)
	trial{}.compare(t, sink, wanted(600, "Grüße"))
	if have := deadLetters(t, b); len(have) > 0 {
		t.Errorf("%d letters for an outage", len(have))
	}
	if up := r.value(t, "tapline_shipper_sink_up"); up != 1 {
		t.Error("the outage does not end")
	}
	if n := s.Doubts(); n > 0 {
		t.Errorf("%d messages are remembered that are delivered", n)
	}
}
