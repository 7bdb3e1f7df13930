package devosink

import (
	"bytes"
	"strconv"
	"time"
)

// Header is what stands before the message of an event.
type Header struct {
	Priority int       // -1 when there is none
	Date     time.Time // zero when there is none; a date without a year has year 0
	Host     []byte
	Tag      []byte
	Message  []byte
}

// dates are the shapes that Devo's own clients send, longest first.
var dates = []string{
	"2006-01-02 15:04:05.000", "2006-01-02T15:04:05.000Z07:00", "2006-01-02T15:04:05Z07:00",
	"2006-01-02 15:04:05", "Jan _2 15:04:05",
}

// ParseHeader reads the header of an event. It never fails: what is not there
// stays empty, and the rest is the message. All parts alias raw.
func ParseHeader(raw []byte) Header {
	h := Header{Priority: -1}
	rest, ok := h.priority(raw)
	if !ok {
		h.Message = raw
		return h
	}
	if after, ok := bytes.CutPrefix(rest, []byte("1 ")); ok {
		if h.rfc5424(after) {
			return h
		}
	}
	rest = h.date(rest)
	tagEnd, skip := bytes.Index(rest, []byte(": ")), 2
	if tagEnd < 0 {
		tagEnd, skip = bytes.IndexByte(rest, ':'), 1
	}
	if tagEnd < 0 {
		h.Message = rest
		return h
	}
	before := rest[:tagEnd]
	h.Message = rest[tagEnd+skip:]
	if space := bytes.IndexByte(before, ' '); space >= 0 && bytes.IndexByte(before[:space], ':') < 0 {
		h.Host, before = before[:space], before[space+1:]
	}
	h.Tag = bytes.TrimSpace(before)
	return h
}

func (h *Header) priority(raw []byte) (rest []byte, ok bool) {
	if len(raw) < 3 || raw[0] != '<' {
		return raw, false
	}
	end := bytes.IndexByte(raw[:min(len(raw), 5)], '>')
	if end < 2 {
		return raw, false
	}
	n, err := strconv.Atoi(string(raw[1:end]))
	if err != nil || n < 0 {
		return raw, false
	}
	h.Priority = n
	return raw[end+1:], true
}

// date reads a date of any known shape and the blank behind it.
func (h *Header) date(rest []byte) []byte {
	for _, layout := range dates {
		n := len(layout)
		if bytes.HasSuffix([]byte(layout), []byte("Z07:00")) { // the zone is one character or six
			n = bytes.IndexByte(rest, ' ')
		}
		if n <= 0 || len(rest) <= n || rest[n] != ' ' {
			continue
		}
		if t, err := time.Parse(layout, string(rest[:n])); err == nil {
			h.Date = t.UTC()
			return rest[n+1:]
		}
	}
	return rest
}

// rfc5424 reads "DATE HOST APP PROCID MSGID SD MSG"; Devo's tag is the app name.
func (h *Header) rfc5424(rest []byte) bool {
	parts := bytes.SplitN(rest, []byte(" "), 7)
	if len(parts) < 6 {
		return false
	}
	t, err := time.Parse(time.RFC3339Nano, string(parts[0]))
	if err != nil {
		return false
	}
	h.Date, h.Host, h.Tag = t.UTC(), parts[1], parts[2]
	if len(parts) == 7 {
		h.Message = parts[6]
	}
	return true
}
