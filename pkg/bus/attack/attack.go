package attack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapline/tapline/pkg/bus"
)

// System says how a user reaches the servers.
type System func(user string) bus.Config

// restorePatience bounds the wait for a server to be done with an attack.
const restorePatience = time.Minute

var (
	errUnsettled = errors.New("the server does not become idle")
	errHarmless  = errors.New("no attempt had any effect")
)

func (s System) connect(user string, opts ...nats.Option) (*nats.Conn, error) {
	c := s(user)
	opts = append(opts, nats.UserInfo(c.User, c.Password.Reveal()), nats.Timeout(10*time.Second), nats.ReconnectWait(10*time.Millisecond), nats.MaxReconnects(-1))
	nc, err := nats.Connect(c.URL, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect as %s: %w", user, err)
	}
	return nc, nil
}

// Prepare stores something worth stealing in every stream that setup made, and takes messages from
// consumers without acknowledging them.
func Prepare(ctx context.Context, s System) error {
	nc, err := s.connect(bus.UserAdmin)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	for _, stream := range streams() {
		for i := range 3 {
			subject := example(stream)
			if stream == bus.StreamJobs {
				subject += strconv.Itoa(i)
			}
			if _, err := js.Publish(ctx, subject, []byte(secret+stream)); err != nil {
				return fmt.Errorf("prepare %s: %w", stream, err)
			}
		}
	}
	for _, c := range []bus.Consumer{bus.ConsumerFetcherLive, bus.ConsumerEnricher, bus.ConsumerExpander, bus.ConsumerShipper} {
		consumer, err := js.Consumer(ctx, c.Stream, c.Name)
		if err != nil {
			return fmt.Errorf("prepare %s: %w", c.Name, err)
		}
		for range 2 {
			if _, err := consumer.Next(jetstream.FetchMaxWait(10 * time.Second)); err != nil {
				return fmt.Errorf("prepare %s: %w", c.Name, err)
			}
		}
	}
	return nil
}

// Run attacks with the credentials of a user, and lists what it should not have been able to do. It
// fails when nothing at all came of the attack: even the best walls let a user do its work.
func Run(ctx context.Context, s System, u bus.User) (breaches []string, err error) {
	admin, err := s.connect(bus.UserAdmin)
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	before, err := settled(ctx, admin)
	if err != nil {
		return nil, err
	}
	l := &loot{user: u, denied: map[string]string{}}
	nc, err := s.connect(u.Name, nats.CustomInboxPrefix(strings.TrimSuffix(u.Subscribe()[0], ".>")), nats.ErrorHandler(l.refuse))
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	if err := assault(ctx, nc, l, admin); err != nil {
		return nil, err
	}
	if err := garble(ctx, s(u.Name), s(bus.UserAdmin).User); err != nil {
		return nil, err
	}
	after, err := settled(ctx, admin)
	if err != nil {
		return nil, err
	}
	if err := nc.FlushTimeout(restorePatience); err != nil { // what was sent to it has come
		return nil, fmt.Errorf("attack as %s: %w", u.Name, err)
	}
	nc.Close()
	if reflect.DeepEqual(before, after) && (changes(u) || !l.learned) {
		return nil, errHarmless
	}
	return append(l.spoils(), Judge(u, before, after)...), nil
}

// settled looks until nothing changes any more.
func settled(ctx context.Context, admin *nats.Conn) (State, error) {
	var last State
	var err error
	for end := time.Now().Add(restorePatience); time.Now().Before(end) && ctx.Err() == nil; {
		var now State
		if now, err = Look(ctx, admin); err != nil {
			continue // a leader may have gone
		}
		if last.settings != nil && reflect.DeepEqual(now, last) {
			return now, nil
		}
		last = now
	}
	return State{}, errors.Join(errUnsettled, err, ctx.Err())
}

// loot is what an attacker hears.
type loot struct {
	user   bus.User
	mu     sync.Mutex
	denied map[string]string // request by the inbox for its answer
	found  []string
	// learned says that it read what it may know.
	learned bool
}

func (l *loot) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if text := fmt.Sprintf(format, args...); len(l.found) < 100 && !slices.Contains(l.found, text) {
		l.found = append(l.found, text)
	}
}

func (l *loot) hear(msg *nats.Msg) {
	l.mu.Lock()
	request := l.denied[msg.Subject]
	l.mu.Unlock()
	if request != "" && msg.Header.Get("Status") != "503" {
		l.add("an answer to %s: %.80q", request, msg.Data)
	}
	for _, stream := range streams() {
		switch {
		case !bytes.Contains(msg.Data, []byte(secret+stream)):
		case reads(l.user, stream):
			l.mu.Lock()
			l.learned = true
			l.mu.Unlock()
		default:
			l.add("read a message of %s", stream)
		}
	}
}

// changes reports whether the work of a user changes anything.
func changes(u bus.User) bool {
	return slices.ContainsFunc(u.Publish(), func(pattern string) bool { return !strings.HasPrefix(pattern, "$JS.API.") })
}

// reads reports whether a user may know what is in a stream.
func reads(u bus.User, stream string) bool {
	return May(u, "$JS.API.DIRECT.GET."+stream) || slices.ContainsFunc(consumers(), func(c string) bool {
		return strings.HasPrefix(c, stream+".") && May(u, "$JS.API.CONSUMER.MSG.NEXT."+c)
	})
}

// inbox is where answers to attacks come, as far as another account may name it.
const inbox = "_INBOX_attack"

func (l *loot) deny(reply, request string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.denied[reply] = request
}

// refuse takes what the server says about a try.
func (l *loot) refuse(*nats.Conn, *nats.Subscription, error) {}

func (l *loot) spoils() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.found)
}

// assault makes every attempt that there is.
func assault(ctx context.Context, nc *nats.Conn, l *loot, admin *nats.Conn) error {
	u := l.user
	own := strings.TrimSuffix(u.Subscribe()[0], ">")
	for _, subject := range append(listens(), inbox+".>", own+"stolen") { // push consumers look for the very subject

		if _, err := nc.Subscribe(subject, l.hear); err != nil {
			return fmt.Errorf("listen to %s: %w", subject, err)
		}
	}
	tries := 0
	for subject, body := range wants() {
		for _, msg := range attempts(u, subject, body, own+"own") {
			if msg.Reply == own+"own" {
				tries++
				msg.Reply += strconv.Itoa(tries)
				if !May(u, subject) {
					l.deny(msg.Reply, subject)
				}
			}
			if err := nc.PublishMsg(msg); err != nil && !errors.Is(err, nats.ErrBadSubject) {
				return fmt.Errorf("publish on %s: %w", subject, err)
			}
		}
	}
	if _, err := Look(ctx, admin); err != nil { // whose answers are another one's
		return err
	}
	if err := nc.FlushTimeout(restorePatience); err != nil {
		return fmt.Errorf("attack as %s: %w", u.Name, err)
	}
	if err := stage(ctx, nc, u, own); err != nil {
		return err
	}
	return nil
}

// attempts are the ways to make one request: with each reply, and with each header.
func attempts(u bus.User, subject string, body []byte, own string) []*nats.Msg {
	var out []*nats.Msg
	hs := headers()
	if !May(u, subject) {
		hs = hs[:4] // the server does not look at more of them
	}
	for _, reply := range replies(own) {
		out = append(out, &nats.Msg{Subject: subject, Reply: reply, Data: body})
	}
	for _, h := range hs {
		out = append(out, &nats.Msg{Subject: subject, Reply: own, Header: h, Data: body})
	}
	return out
}

// stage has the server send bytes of the attacker's choice to a subject of its choice: it stores
// them in a key of its own, and reads the key.
func stage(ctx context.Context, nc *nats.Conn, u bus.User, own string) error {
	bucket, key := ownKey(u)
	if bucket == "" {
		return nil
	}
	push := `{"stream_name":"RAW","config":{"name":"thief","deliver_subject":"` + own + `stolen","ack_policy":"none"}}`
	for i, forged := range []struct{ to, body string }{
		{"$JS.API.CONSUMER.CREATE.RAW.thief", push},
		{"$JS.API.STREAM.CREATE.thief", `{"name":"thief","mirror":{"name":"RAW"}}`},
		{"$JS.ACK.RAW.enricher.1.2.2.0.0", "+ACK"},
		{"$KV.QUOTA.main.siem", "forged"},
		{"$JS.API.CONSUMER.MSG.NEXT.RAW.enricher", `{"batch":1}`},
		{"$JS.API.STREAM.PURGE.KV_SEEN", "{}"},
	} {
		subject := strings.Replace(key, ">", "staged."+strconv.Itoa(i), 1)
		if _, err := nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: subject, Data: []byte(forged.body)}); err != nil {
			return fmt.Errorf("write %s as %s: %w", subject, u.Name, err)
		}
		if err := nc.PublishRequest("$JS.API.DIRECT.GET."+bucket+"."+subject, forged.to, nil); err != nil {
			return fmt.Errorf("read %s as %s: %w", subject, u.Name, err)
		}
	}
	return nil
}

// ownKey is a pattern of keys that a user may both write and read.
func ownKey(u bus.User) (bucket, pattern string) {
	for _, p := range u.Publish() {
		rest, found := strings.CutPrefix(p, "$KV.")
		name, _, _ := strings.Cut(rest, ".")
		if found && strings.HasSuffix(p, ".>") && !strings.Contains(p, "*") && May(u, "$JS.API.DIRECT.GET.KV_"+name) {
			return "KV_" + name, p
		}
	}
	return "", ""
}
