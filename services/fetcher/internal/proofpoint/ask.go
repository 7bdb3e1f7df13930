package proofpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/fetcher/internal/bound"
)

// Question is a call other than one for SIEM records.
type Question struct {
	Call     feed.Call
	Target   string // the id, or the days that a list of people covers
	Interval string // of a list of campaigns
	Page     int    // of a list, from 1
}

func (c *Client) ask(q Question) (*call, string) {
	path, query := q.Call.Address(q.Target, q.Interval, q.Page)
	target := c.base.JoinPath(path)
	target.RawQuery = query.Encode()
	made := &call{client: c, http: c.http, path: path, began: time.Now()}
	if len(query) > 0 {
		made.path += "?" + query.Encode()
	}
	if q.Call.Pool() == feed.PoolNone {
		made.http = c.free
	}
	return made, target.String()
}

// One asks about one id. The answer is the whole body as it was received: one JSON
// object, at most as large as a record may be.
func (c *Client) One(ctx context.Context, q Question) ([]byte, Response, error) {
	call, target := c.ask(q)
	var answer []byte
	err := call.do(ctx, target, func(b *body) error {
		var buf bytes.Buffer
		if _, err := buf.ReadFrom(io.LimitReader(b, int64(c.cfg.MaxRecordBytes)+1)); err != nil {
			return fmt.Errorf("%w: %w", errTruncated, err)
		}
		if buf.Len() > c.cfg.MaxRecordBytes {
			return fmt.Errorf("%w: %w: more than %d bytes", errMalformed, errTooLarge, c.cfg.MaxRecordBytes)
		}
		answer = bytes.TrimSpace(buf.Bytes())
		return judge(answer)
	})
	call.response.Duration = time.Since(call.began)
	return answer, call.response, err
}

// judge distinguishes a body that ends early from one that is no JSON object, and a record from an
// object that says error.
func judge(answer []byte) error {
	if len(answer) == 0 || answer[0] != '{' {
		return fmt.Errorf("%w: %.20q where an object should be", errOdd, answer)
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(answer), lenient...)
	said, err := complaint(d)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("%w: %w", errTruncated, err)
	case err != nil:
		return fmt.Errorf("%w: %w", errMalformed, err)
	case d.InputOffset() != int64(len(answer)):
		return fmt.Errorf("%w: more than one value", errOdd)
	case said != "":
		return fmt.Errorf("%w: it says error: %q", errOdd, said)
	}
	return nil
}

// complaint reads an object and gives its first member that says error, if there is one. What is
// deeper is the record's own.
func complaint(d *jsontext.Decoder) (said string, err error) {
	if _, err := d.ReadToken(); err != nil {
		return "", err
	}
	for d.PeekKind() == '"' {
		key, err := d.ReadToken()
		if err != nil {
			return "", err
		}
		name := key.String()
		value, err := d.ReadValue()
		if err != nil {
			return "", err
		}
		if said == "" && says(name) && !saysNothing(value) {
			said = words([]byte(name+": "+string(value[:min(len(value), maxWords)])), maxWords)
		}
	}
	_, err = d.ReadToken()
	return said, err
}

// List reads one page of a list and hands every entry to visit, as [Client.SIEM] does. The envelope
// is the remainder of the response, as one JSON object. A list of campaigns that is answered with
// 404 or 204 is empty: Proofpoint says so when there are none.
func (c *Client) List(ctx context.Context, q Question, visit func(Record) error) (envelope []byte, r Response, err error) {
	call, target := c.ask(q)
	call.mayBeEmpty = q.Call == feed.CallCampaignIDs
	list := &listing{}
	err = call.do(ctx, target, func(b *body) error {
		evidence, err := split(b, list.shape(q.Call), c.cfg.MaxRecordBytes, visit)
		switch {
		case err != nil:
			return err
		case len(evidence.Missing) > 0:
			return fmt.Errorf("%w: no list is there", errOdd)
		case evidence.ErrorText != "":
			return fmt.Errorf("%w: it says error: %q", errOdd, evidence.ErrorText)
		}
		return nil
	})
	call.response.Duration = time.Since(call.began)
	if api, ok := errors.AsType[*APIError](err); ok && api.Kind == NotFound && q.Call == feed.CallCampaignIDs {
		err = nil
	}
	return list.envelope(), call.response, err
}

// listing collects what stands around the entries of a list.
type listing struct{ members []byte }

// shape says where the entries of a call's list are.
func (l *listing) shape(call feed.Call) arrays {
	key := "users"
	if call == feed.CallCampaignIDs {
		key = "campaigns"
	}
	return arrays{feeds: map[string]feed.Feed{key: call.Feed()}, other: l.add}
}

func (l *listing) add(key, value []byte) error {
	if len(l.members)+len(key)+len(value) > bound.Envelope {
		return nil
	}
	if len(l.members) > 0 {
		l.members = append(l.members, ',')
	}
	l.members = append(append(append(l.members, key...), ':'), value...)
	return nil
}

func (l *listing) envelope() []byte { return append(append([]byte{'{'}, l.members...), '}') }
