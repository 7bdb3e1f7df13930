package bustest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
)

// direct is where a message of a stream is asked for; its answers are no JSON.
const direct = "$JS.API.DIRECT.GET."

// wire speaks NATS's protocol between a client and its server, and passes on what it is not set to
// fail.
type wire struct {
	client, server net.Conn
	meet           func(subject, header string, body []byte) *Fault

	writing sync.Mutex // to the client: one message at a time

	mu    sync.Mutex
	inbox map[string]string  // subscriptions by number, with their subjects
	lost  map[string]*answer // by where the answer would go
}

// answer is what the client hears instead of the server's own.
type answer struct {
	subject string // of the call
	fault   *Fault
	come    int // messages of it
}

var errProtocol = errors.New("not NATS's protocol")

// between gives the client's end of a connection to the server.
func between(server net.Conn, meet func(subject, header string, body []byte) *Fault) net.Conn {
	ours, client := net.Pipe()
	w := &wire{client: ours, server: server, meet: meet, inbox: make(map[string]string), lost: make(map[string]*answer)}
	go w.carry(server, ours, w.toServer)
	go w.carry(ours, server, w.toClient)
	return client
}

// carry passes messages on until one of the ends is closed, and then closes both.
func (w *wire) carry(to, from net.Conn, pass func(line []byte, rest *bufio.Reader) error) {
	defer func() {
		_ = to.Close()
		_ = from.Close()
	}()
	r := bufio.NewReaderSize(from, 64<<10)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil || pass(line, r) != nil {
			return
		}
	}
}

// message is a message on the wire: PUB, HPUB, MSG or HMSG.
type message struct {
	args   []string // of the line: at first the subject
	header string
	body   []byte
	whole  []byte
}

// read reads what belongs to a line with sizes at its end.
func read(line []byte, r io.Reader) (message, error) {
	args := strings.Fields(string(line))
	m := message{args: args[1:]}
	size, err := strconv.Atoi(args[len(args)-1])
	if err != nil {
		return m, errProtocol
	}
	body := make([]byte, len(line)+size+len("\r\n"))
	copy(body, line)
	if _, err := io.ReadFull(r, body[len(line):]); err != nil {
		return m, fmt.Errorf("read a message: %w", err)
	}
	if strings.HasPrefix(strings.ToUpper(args[0]), "H") {
		n, err := strconv.Atoi(args[len(args)-2])
		if err != nil || n > size {
			return m, errProtocol
		}
		m.header = string(body[len(line) : len(line)+n])
	}
	m.body, m.whole = body[len(line)+len(m.header):len(body)-len("\r\n")], body
	return m, nil
}

func verb(line []byte) string {
	word, _, _ := bytes.Cut(bytes.TrimSpace(line), []byte{' '})
	return strings.ToUpper(string(word))
}

func (w *wire) toServer(line []byte, r *bufio.Reader) error {
	switch verb(line) {
	case "SUB":
		args := strings.Fields(string(line))
		w.mu.Lock()
		w.inbox[args[len(args)-1]] = args[1]
		w.mu.Unlock()
	case "PUB", "HPUB":
		m, err := read(line, r)
		if err != nil {
			return err
		}
		return w.publish(m, verb(line) == "HPUB")
	}
	_, err := w.server.Write(line)
	return err
}

// publish passes a client's message on, or lets it fail.
func (w *wire) publish(m message, headed bool) error {
	sizes, reply := 1, ""
	if headed {
		sizes = 2
	}
	if len(m.args) == sizes+2 {
		reply = m.args[1]
	}
	fault := w.meet(m.args[0], m.header, m.body)
	if fault == nil || fault.Lose > 0 || fault.After && !strings.HasPrefix(m.args[0], direct) {
		if fault != nil && reply != "" {
			w.mu.Lock()
			w.lost[reply] = &answer{subject: m.args[0], fault: fault}
			w.mu.Unlock()
		}
		_, err := w.server.Write(m.whole)
		return err
	}
	if fault.Silent || reply == "" {
		return nil
	}
	return w.refuse(reply, &answer{subject: m.args[0], fault: fault})
}

func (w *wire) toClient(line []byte, r *bufio.Reader) error {
	whole := line
	if v := verb(line); v == "MSG" || v == "HMSG" {
		m, err := read(line, r)
		if err != nil {
			return err
		}
		w.mu.Lock()
		a, lost := w.lost[m.args[0]]
		if lost {
			a.come++
		}
		if !lost || a.come >= a.fault.Lose {
			delete(w.lost, m.args[0])
		}
		w.mu.Unlock()
		switch {
		case lost && a.come < a.fault.Lose: // passed on
		case lost && (a.fault.Silent || a.fault.Lose > 0):
			return nil
		case lost:
			return w.refuse(m.args[0], a)
		}
		whole = m.whole
	}
	w.writing.Lock()
	defer w.writing.Unlock()
	_, err := w.client.Write(whole)
	return err
}

// refuse answers the client as a server does that cannot.
func (w *wire) refuse(reply string, a *answer) error {
	number := w.subscription(reply)
	var message string
	if strings.HasPrefix(a.subject, direct) {
		const header = "NATS/1.0 500 let fail by the test\r\n\r\n"
		message = fmt.Sprintf("HMSG %s %s %d %d\r\n%s\r\n", reply, number, len(header), len(header), header)
	} else {
		code := 10008 // not available
		switch {
		case a.fault.Full:
			code = 10077 // the stream takes no more
		case a.fault.Busy:
			code = 10164 // wrong last sequence, without a number
		}
		body := fmt.Sprintf(`{"error":{"code":503,"err_code":%d,"description":"let fail by the test"}}`, code)
		message = fmt.Sprintf("MSG %s %s %d\r\n%s\r\n", reply, number, len(body), body)
	}
	w.writing.Lock()
	defer w.writing.Unlock()
	_, err := io.WriteString(w.client, message)
	return err
}

// subscription is the number under which a client listens to a subject. One that names it comes
// before those with wildcards: the library listens twice to where it awaits several answers.
func (w *wire) subscription(subject string) (number string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for candidate, pattern := range w.inbox {
		if pattern == subject {
			return candidate
		}
		if prefix := strings.TrimRight(pattern, "*>"); prefix != pattern && strings.HasPrefix(subject, prefix) {
			number = candidate
		}
	}
	return number
}
