package e2e_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/tapsim"
)

// comparison is what verify --devo says.
type comparison struct {
	Tables  []struct{ Confirmed, Found, Missing, Nameless int64 }
	Pending int64
	Missing []struct {
		ID string `json:"tapline_id"`
	}
	Repair []string
}

func (c comparison) sum() (confirmed, found, missing int64) {
	for _, t := range c.Tables {
		confirmed, found, missing = confirmed+t.Confirmed, found+t.Found, missing+t.Missing
	}
	return confirmed, found, missing
}

// TestReadBackOfEverything: with all feeds, also those whose rows are made of answers, everything
// that was confirmed is found at Devo; and when the balancer acknowledges rows that are stored
// nowhere, exactly those are missing, and the command that is printed brings them.
func TestReadBackOfEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *tapsim.Config) { c.Factor, c.Rate, c.Age = 1, 2, 20*time.Minute })
	api := httptest.NewServer(w.sink.Query(devosink.QueryConfig{Token: "q"}))
	t.Cleanup(api.Close)
	address := freeAddress(t)
	o := operator{t, []string{"NATS_URL=nats://" + address, "DEVO_QUERY_URL=" + api.URL, "DEVO_QUERY_INSECURE=true", "DEVO_QUERY_TOKEN=q", "DEVO_QUERY_SETTLE=0s"}}
	at := w.sim.Now().Add(-2 * time.Minute)
	w.run(t, "NATS_LISTEN="+address, "TAP_FORENSICS=true", "FLATTEN_CAMPAIGNS=on", "TAP_POLL_INTERVAL=30s")
	w.complete(t, at)
	w.expanded(t, at)

	var c comparison
	poll(t, "everything at Devo", func() bool {
		c = comparison{}
		return o.read(&c, "verify", "--devo") == 0 && c.Pending == 0
	})
	if confirmed, found, _ := c.sum(); confirmed != found || confirmed < 1000 || len(c.Tables) < 6 {
		t.Errorf("%+v", c)
	}
	for _, table := range c.Tables {
		if table.Nameless > 0 {
			t.Errorf("rows without a name: %+v", table)
		}
	}

	if err := w.sink.Inject(devosink.Fault{Kind: devosink.FaultDiscard}); err != nil {
		t.Fatal(err)
	}
	missing := func() bool {
		c = comparison{}
		return o.read(&c, "verify", "--devo") == 3
	}
	poll(t, "confirmed rows that are lost", missing)
	if err := w.sink.Clear(); err != nil {
		t.Fatal(err)
	}
	if !missing() {
		t.Fatal("rows that were lost came by themselves")
	}
	if _, _, missing := c.sum(); missing == 0 || int(missing) != len(c.Missing) || len(c.Repair) == 0 {
		t.Errorf("%+v", c)
	}
	there := map[string]bool{}
	for _, e := range w.sink.Events("") {
		if !e.Frame.Partial {
			there[taplineID(t, e.Message)] = true
		}
	}
	for _, row := range c.Missing {
		if there[row.ID] {
			t.Errorf("%s is missing and is there", row.ID)
		}
	}
	poll(t, "nothing missing after repairs", func() bool {
		for _, command := range c.Repair {
			words := strings.Fields(command)
			if len(words) < 3 || words[0] != "tapctl" {
				t.Fatalf("no command: %q", command)
			}
			o.run(words[1:]...)
		}
		return !missing()
	})
}
