package devohttp

import (
	"errors"
	"net/http"
	"time"

	"github.com/tapline/tapline/pkg/backoff"
	"github.com/tapline/tapline/pkg/batch"
)

const (
	// maxTables bounds the tables of which the dialer knows when rows of them were taken.
	maxTables = 64
	// maxDoubt is how many single rows are refused, with none of the table taken lately, until the
	// whole batch counts as refused: an endpoint that refuses everything is not asked about each
	// row.
	maxDoubt = 8
	// lately is how long it is believed that the endpoint takes rows of a table.
	lately = time.Minute
	// tries is how often refused rows are asked about again when others of their batch were taken.
	tries = 5
)

// pauses are between those tries.
var pauses = backoff.Doubling{Min: 250 * time.Millisecond, Max: 4 * time.Second}

// Refused is one row that the endpoint does not take, though it is alone in its request.
type Refused struct {
	Row int // its place in the batch
	Err error
}

// RefusedError says that the endpoint refuses rows and may take others. It is for the caller to
// believe it: if no other row of the batch was taken, little shows that the rows are to blame.
// Other batches may have met another backend behind the same address.
type RefusedError struct {
	Rows    []Refused
	Taken   time.Time // when the endpoint took rows of this table last; zero if never
	Among   bool      // others of the batch were taken, and the rows were refused again on new connections
	Partial bool      // Rows are not all: the endpoint seems to refuse everything

	confirm func()
}

// Error is about the first row.
func (e *RefusedError) Error() string { return e.Rows[0].Err.Error() }

// Unwrap gives the answer to the first row.
func (e *RefusedError) Unwrap() error { return e.Rows[0].Err }

// Settled reports that the rows are done: the batch is confirmed without them.
func (e *RefusedError) Settled() { e.confirm() }

// answerError is an answer that may be about the rows of the request and not about the endpoint.
type answerError struct{ error }

func aboutRows(status int) bool {
	return status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge || status == http.StatusUnprocessableEntity
}

// delivery is a batch on its way in one request, or in more if that would be too large or is
// refused.
type delivery struct {
	conn    *Conn
	table   string
	rows    []batch.Event
	refused []Refused
	gaveUp  bool
	took    bool // some rows were taken
	mixed   bool // some rows were taken after a row was refused
}

// send sends the rows from one to another. What is refused is halved until the refused row is
// alone. A part that was taken before another failed is resent with the whole batch.
func (d *delivery) send(from, to int) error {
	if d.gaveUp || from == to {
		return nil
	}
	size := 0
	for i := from; i < to; i++ {
		size += len(d.rows[i].JSON) + 1
	}
	if size <= maxBody || to-from == 1 {
		err := d.conn.post(d.table, d.rows[from:to])
		answer, ok := errors.AsType[*answerError](err)
		if !ok {
			d.took = d.took || err == nil
			d.mixed = d.mixed || err == nil && len(d.refused) > 0
			return err
		}
		if to-from == 1 {
			d.refused = append(d.refused, Refused{from, answer.error})
			d.gaveUp = len(d.refused) >= maxDoubt && time.Since(d.conn.dialer.taken(d.table)) > lately
			return nil
		}
	}
	half := from + (to-from)/2
	if err := d.send(from, half); err != nil {
		return err
	}
	return d.send(half, to)
}

// among reports whether rows are refused among others that are taken. Many refused rows with none
// taken after them may be the beginning of an outage.
func (d *delivery) among() bool {
	return len(d.refused) > 0 && d.took && (d.mixed || len(d.refused) < maxDoubt)
}

// again asks about the refused rows several times, with pauses and on new connections: an outage
// may be over by then, and behind one address may be several backends of which one refuses
// everything.
func (d *delivery) again() error {
	for try := range tries {
		if !backoff.Sleep(d.conn.life, pauses.After(try+1)) {
			return d.conn.life.Err()
		}
		if err := d.retry(); err != nil || len(d.refused) == 0 || d.gaveUp {
			return err
		}
	}
	return nil
}

// retry sends the refused rows once more, each alone, on a connection that carried nothing before.
func (d *delivery) retry() error {
	shared := d.conn.client
	fresh, end := d.conn.dialer.fresh()
	d.conn.client = fresh
	defer func() {
		d.conn.client = shared
		end()
	}()
	rows := d.refused
	d.refused = nil
	for _, r := range rows {
		if err := d.send(r.Row, r.Row+1); err != nil {
			return err
		}
	}
	return nil
}

// fresh is a client like the dialer's that shares no connection with it. end closes what it has
// opened.
func (d *Dialer) fresh() (client *http.Client, end func()) {
	c := *d.http
	if t, ok := c.Transport.(*http.Transport); ok {
		c.Transport = t.Clone()
	}
	return &c, c.CloseIdleConnections
}

// take records that rows of a table were taken.
func (d *Dialer) take(table string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.took == nil || len(d.took) >= maxTables && d.took[table].IsZero() {
		d.took = make(map[string]time.Time)
	}
	d.took[table] = time.Now()
}

func (d *Dialer) taken(table string) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.took[table]
}
