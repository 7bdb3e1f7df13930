package attack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapline/tapline/pkg/bus"
)

// Forged begins every message that a rampage makes up.
const Forged = "forged"

// Deeds is what a rampage did.
type Deeds struct {
	Allowed, Forbidden int
	Breaches           []string // what no server may let it do
}

// Rampage does random things with the credentials of a user until ctx ends, beside the programs
// that have the same ones: forbidden requests, and everything that the user may do, with contents
// that are made up, stolen, cut short or changed.
func Rampage(ctx context.Context, s System, u bus.User, random *rand.Rand) (Deeds, error) {
	admin, err := s.connect(bus.UserAdmin)
	if err != nil {
		return Deeds{}, err
	}
	defer admin.Close()
	js, err := jetstream.New(admin)
	if err != nil {
		return Deeds{}, fmt.Errorf("rampage: %w", err)
	}
	l := &loot{user: u, denied: map[string]string{}}
	own := strings.TrimSuffix(u.Subscribe()[0], ">")
	nc, err := s.connect(u.Name, nats.CustomInboxPrefix(strings.TrimSuffix(own, ".")), nats.ErrorHandler(l.refuse))
	if err != nil {
		return Deeds{}, err
	}
	defer nc.Close()
	r := &rampage{Rand: random, user: u, nc: nc, js: js, loot: l, own: own, wants: wants()}
	for _, subject := range append(listens(), own+"x.>") {
		if _, err := nc.Subscribe(subject, r.hear); err != nil {
			return Deeds{}, fmt.Errorf("listen to %s: %w", subject, err)
		}
	}
	r.split()
	for ctx.Err() == nil {
		if time.Since(r.scouted) > scoutEvery {
			r.scout(ctx)
		}
		r.deed(ctx)
		pause := time.NewTimer(time.Duration(random.IntN(20)) * time.Millisecond)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
	r.did.Breaches = l.spoils()
	return r.did, nil
}

const (
	scoutEvery = 3 * time.Second
	takeWait   = time.Second
)

// rampage is one attacker. It knows what the admin knows: an attacker may have read it before.
type rampage struct {
	*rand.Rand
	user bus.User
	nc   *nats.Conn
	js   jetstream.JetStream
	loot *loot
	own  string // prefix of its inboxes
	did  Deeds

	wants                       map[string][]byte
	forbidden, requests, stores []string // subjects
	scouted                     time.Time
	consumers                   []string // STREAM.consumer, of which it may take
	keys                        []string // subjects that have a message
	contents                    [][]byte // of some of them
}

// streamOf is the stream of a subject; empty if it is of none. What a consumer delivers has the
// subject that it was stored on.
func streamOf(subject string) string {
	first, rest, _ := strings.Cut(subject, ".")
	bucket, _, _ := strings.Cut(rest, ".")
	return map[string]string{
		"job": bus.StreamJobs, "raw": bus.StreamRaw, "mark": bus.StreamRaw, "event": bus.StreamEvents, "dead": bus.StreamDead, "$KV": "KV_" + bucket,
	}[first]
}

// hear takes answers, and whatever else reaches the attacker.
func (r *rampage) hear(msg *nats.Msg) {
	if !strings.HasPrefix(msg.Subject, r.own) && !strings.HasPrefix(msg.Subject, inbox) && !reads(r.user, streamOf(msg.Subject)) {
		r.loot.add("it heard a message on %s", msg.Subject)
	}
	r.loot.hear(msg)
}

// split sorts what there is to try by what the user may do.
func (r *rampage) split() {
	for _, subject := range slices.Sorted(maps.Keys(r.wants)) {
		switch {
		case !May(r.user, subject):
			r.forbidden = append(r.forbidden, subject)
		case strings.HasPrefix(subject, "$JS."):
			r.requests = append(r.requests, subject)
		default:
			r.stores = append(r.stores, subject)
		}
	}
}

// scout looks which subjects and consumers there are. The server may be too busy to say.
func (r *rampage) scout(ctx context.Context) {
	r.scouted = time.Now()
	var keys, consumers []string
	for _, name := range streams() {
		stream, err := r.js.Stream(ctx, name)
		if err != nil {
			continue
		}
		if info, err := stream.Info(ctx, jetstream.WithSubjectFilter(">")); err == nil {
			keys = append(keys, slices.Sorted(maps.Keys(info.State.Subjects))...)
		}
		for info := range stream.ListConsumers(ctx).Info() {
			if c := name + "." + info.Name; May(r.user, "$JS.API.CONSUMER.MSG.NEXT."+c) {
				consumers = append(consumers, c)
			}
		}
		for range 3 {
			if len(keys) == 0 {
				break
			}
			if msg, err := stream.GetLastMsgForSubject(ctx, keys[r.IntN(len(keys))]); err == nil {
				r.contents = append(r.contents, msg.Data)
			}
		}
	}
	slices.Sort(consumers)
	r.keys, r.consumers = keys, consumers
	if n := len(r.contents); n > 200 {
		r.contents = slices.Clone(r.contents[n-200:])
	}
}

// deed does one thing.
func (r *rampage) deed(ctx context.Context) {
	switch n := r.IntN(100); {
	case n < 45:
		r.did.Forbidden++
		r.try(r.forbidden)
	case n < 70:
		r.did.Allowed++
		r.store()
	case n < 80:
		r.did.Allowed++
		r.try(r.requests)
	default:
		r.did.Allowed++
		r.take(ctx)
	}
}

func one[T any](r *rampage, list []T) (v T) {
	if len(list) == 0 {
		return v
	}
	return list[r.IntN(len(list))]
}

// try makes one of the requests in one of the ways there are.
func (r *rampage) try(subjects []string) {
	subject := one(r, subjects)
	if subject == "" || strings.Contains(subject, ".PURGE.") && May(r.user, subject) && r.IntN(8) > 0 { // else nothing else would matter
		return
	}
	msg := one(r, attempts(r.user, subject, r.wants[subject], r.own+"x."))
	if msg.Reply == r.own+"x." {
		msg.Reply += strconv.Itoa(r.did.Forbidden + r.did.Allowed)
		if !May(r.user, subject) {
			r.loot.deny(msg.Reply, subject)
		}
	}
	r.publish(msg)
}

// store writes something where the user may.
func (r *rampage) store() {
	subject := one(r, r.stores)
	if key := one(r, r.keys); r.IntN(4) > 0 && May(r.user, key) {
		subject = key
	}
	if subject == "" {
		return
	}
	r.publish(&nats.Msg{Subject: subject, Header: one(r, append(headers(), nil, nil, nil)), Data: r.content()})
}

// content is what the user's programs do not write there.
func (r *rampage) content() []byte {
	stolen := slices.Clone(one(r, r.contents))
	switch n := r.IntN(7); {
	case n == 0 || len(stolen) == 0:
		return []byte(Forged)
	case n == 1:
		return nil
	case n == 2:
		return append([]byte(Forged), bytes.Repeat([]byte{0x0a, 0}, 1<<15)...)
	case n == 3:
		return stolen[:r.IntN(len(stolen))]
	case n == 4:
		stolen[r.IntN(len(stolen))] ^= 1 << r.IntN(8)
	}
	return stolen
}

// take pulls from a consumer and does anything with what comes.
func (r *rampage) take(ctx context.Context) {
	name := one(r, r.consumers)
	if name == "" {
		return
	}
	sub, err := r.nc.SubscribeSync(r.nc.NewInbox())
	if err != nil {
		return
	}
	defer func() { _ = sub.Unsubscribe() }()
	n := 1 + r.IntN(5)
	r.publish(&nats.Msg{Subject: "$JS.API.CONSUMER.MSG.NEXT." + name, Reply: sub.Subject, Data: fmt.Appendf(nil, `{"batch":%d,"no_wait":true}`, n)})
	ctx, cancel := context.WithTimeout(ctx, takeWait)
	defer cancel()
	for range n {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil || msg.Header.Get("Status") != "" {
			return
		}
		if what := one(r, []string{"", "", "+ACK", "-NAK", "+TERM", "+WPI", `-NAK {"delay":1000000000}`, "junk"}); what != "" {
			r.publish(&nats.Msg{Subject: msg.Reply, Data: []byte(what)})
		}
	}
}

func (r *rampage) publish(msg *nats.Msg) {
	if err := r.nc.PublishMsg(msg); err != nil && !errors.Is(err, nats.ErrBadSubject) && !errors.Is(err, nats.ErrConnectionClosed) {
		r.loot.add("publish on %s: %v", msg.Subject, err)
	}
}

// ErrRefused says that a server does not take a password.
var ErrRefused = errors.New("the password is refused")

// Login tries a password.
func Login(c bus.Config) error {
	nc, err := nats.Connect(c.URL, nats.UserInfo(c.User, c.Password.Reveal()))
	if errors.Is(err, nats.ErrAuthorization) {
		return ErrRefused
	}
	if err != nil {
		return fmt.Errorf("log in as %s: %w", c.User, err)
	}
	nc.Close()
	return nil
}
