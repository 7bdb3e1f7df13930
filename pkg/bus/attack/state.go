package attack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapline/tapline/pkg/bus"
)

// State is everything that a server keeps, as its admin sees it.
type State struct {
	settings  map[string]string  // of each stream and each consumer, by name
	messages  map[string]message // by STREAM/sequence
	consumers map[string]string  // how far each is, by STREAM.consumer
}

type message struct{ subject, sum string }

type streamPage struct {
	Total   int              `json:"total"`
	Streams []map[string]any `json:"streams"`
	Missing []string         `json:"missing"`
}

type consumerPage struct {
	Total     int              `json:"total"`
	Consumers []map[string]any `json:"consumers"`
	Missing   []string         `json:"missing"`
}

var errMissing = errors.New("not all servers answer")

// Look reads all there is.
func Look(ctx context.Context, admin *nats.Conn) (State, error) {
	s, infos, err := look(ctx, admin)
	if err != nil {
		return State{}, err
	}
	for name, info := range infos {
		first, last := number(info, "state", "first_seq"), number(info, "state", "last_seq")
		for seq := max(first, 1); seq <= last; seq++ {
			if err := s.lookAtMessage(ctx, admin, name, seq); err != nil {
				return State{}, err
			}
		}
	}
	return s, nil
}

// look reads all but the messages.
func look(ctx context.Context, admin *nats.Conn) (s State, infos map[string]map[string]any, err error) {
	s, infos = State{map[string]string{}, map[string]message{}, map[string]string{}}, map[string]map[string]any{}
	var page streamPage
	if err := ask(ctx, admin, "$JS.API.STREAM.LIST", nil, &page); err != nil {
		return State{}, nil, err
	}
	if len(page.Missing) > 0 || len(page.Streams) < page.Total {
		return State{}, nil, errMissing
	}
	for _, info := range page.Streams {
		name := pick(info, "config", "name")
		infos[name] = info
		s.settings[name] = canonical(info["config"]) + canonical(info["created"])
		if err := s.lookAtConsumers(ctx, admin, name); err != nil {
			return State{}, nil, err
		}
	}
	return s, infos, nil
}

// Fixed is what no stage changes: the settings of streams and consumers by name, and "STREAM
// removed" for streams of which messages are gone that a user may not remove.
func Fixed(ctx context.Context, s System, u bus.User) (map[string]string, error) {
	admin, err := s.connect(bus.UserAdmin)
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	state, infos, err := look(ctx, admin)
	if err != nil {
		return nil, err
	}
	for _, stream := range []string{bus.StreamRaw, bus.StreamEvents, bus.StreamDead} {
		info := infos[stream]
		if gone := number(info, "state", "last_seq") - number(info, "state", "messages"); gone > 0 && !May(u, "$JS.API.STREAM.PURGE."+stream) {
			state.settings[stream+" removed"] = strconv.FormatUint(gone, 10)
		}
	}
	return state.settings, nil
}

func (s State) lookAtConsumers(ctx context.Context, admin *nats.Conn, stream string) error {
	var page consumerPage
	if err := ask(ctx, admin, "$JS.API.CONSUMER.LIST."+stream, nil, &page); err != nil {
		return err
	}
	if len(page.Missing) > 0 || len(page.Consumers) < page.Total {
		return errMissing
	}
	for _, info := range page.Consumers {
		name := stream + "." + pick(info, "name")
		s.settings[name] = canonical(info["config"]) + canonical(info["created"])
		s.consumers[name] = fmt.Sprintf("delivered %s, acknowledged to %s, in work %v, redelivered %v, waiting %v", pick(info, "delivered", "stream_seq"),
			pick(info, "ack_floor", "stream_seq"), info["num_ack_pending"], info["num_redelivered"], info["num_waiting"])
	}
	return nil
}

func (s State) lookAtMessage(ctx context.Context, admin *nats.Conn, stream string, seq uint64) error {
	var answer struct {
		Message struct {
			Subject string `json:"subject"`
			Header  []byte `json:"hdrs"`
			Data    []byte `json:"data"`
		} `json:"message"`
	}
	err := ask(ctx, admin, "$JS.API.STREAM.MSG.GET."+stream, map[string]any{"seq": seq}, &answer)
	if failed := (*apiError)(nil); errors.As(err, &failed) && failed.Code == 404 {
		return nil // removed
	}
	if err != nil {
		return err
	}
	sum := sha256.Sum256(slices.Concat(answer.Message.Header, []byte{0}, answer.Message.Data))
	s.messages[stream+"/"+strconv.FormatUint(seq, 10)] = message{answer.Message.Subject, hex.EncodeToString(sum[:])}
	return nil
}

// apiError is what the server answers instead.
type apiError struct {
	Code        int    `json:"code"`
	Description string `json:"description"`
}

// Error implements error.
func (e *apiError) Error() string { return fmt.Sprintf("%d %s", e.Code, e.Description) }

func ask(ctx context.Context, nc *nats.Conn, subject string, request, answer any) error {
	data, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("ask %s: %w", subject, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	msg, err := nc.RequestWithContext(ctx, subject, data)
	if err != nil {
		return fmt.Errorf("ask %s: %w", subject, err)
	}
	var failed struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(msg.Data, &failed); err != nil {
		return fmt.Errorf("ask %s: %w", subject, err)
	}
	if failed.Error != nil {
		return fmt.Errorf("ask %s: %w", subject, failed.Error)
	}
	if err := json.Unmarshal(msg.Data, answer); err != nil {
		return fmt.Errorf("ask %s: %w", subject, err)
	}
	return nil
}

func pick(info map[string]any, path ...string) string {
	var at any = info
	for _, key := range path {
		m, _ := at.(map[string]any)
		at = m[key]
	}
	return fmt.Sprint(at)
}

func number(info map[string]any, path ...string) uint64 {
	f, _ := strconv.ParseFloat(pick(info, path...), 64)
	return uint64(f)
}

func canonical(v any) string {
	data, _ := json.Marshal(v) // came from JSON
	return string(data)
}

// Judge says what has changed that a user may not change: each subject of a message, each consumer
// and each purge stands in the table of rights, or it is a breach.
func Judge(u bus.User, before, after State) []string {
	var breaches []string
	say := func(format string, args ...any) { breaches = append(breaches, fmt.Sprintf(format, args...)) }
	for _, name := range names(before.settings, after.settings) {
		if before.settings[name] != after.settings[name] {
			say("%s was %q and is %q", name, before.settings[name], after.settings[name])
		}
	}
	for _, name := range names(before.consumers, after.consumers) {
		stream, _, _ := strings.Cut(name, ".")
		if before.consumers[name] != after.consumers[name] && !May(u, "$JS.API.CONSUMER.MSG.NEXT."+name) && !May(u, "$JS.API.STREAM.PURGE."+stream) {
			say("consumer %s: %s, and then %s", name, before.consumers[name], after.consumers[name])
		}
	}
	for _, name := range names(before.messages, after.messages) {
		was, is := before.messages[name], after.messages[name]
		stream, _, _ := strings.Cut(name, "/")
		switch {
		case was == is:
		case was.subject == "" && !May(u, is.subject):
			say("stored %s: %s", name, is.subject)
		case was.subject != "" && is.subject != "":
			say("%s was changed", name)
		case was.subject != "" && !mayRemove(u, stream, was.subject, after):
			say("removed %s: %s", name, was.subject)
		}
	}
	return breaches
}

// mayRemove reports whether a message may be gone: purged, done, or a value that another one took
// the place of.
func mayRemove(u bus.User, stream, subject string, after State) bool {
	switch {
	case May(u, "$JS.API.STREAM.PURGE."+stream), May(u, "$JS.API.STREAM.MSG.DELETE."+stream):
		return true
	case stream == bus.StreamJobs:
		return slices.ContainsFunc(slices.Collect(maps.Keys(after.consumers)), func(name string) bool {
			lane := strings.Split(subject, ".")[2]
			return strings.HasPrefix(name, stream+".") && strings.HasSuffix(name, "-"+lane) && May(u, "$JS.API.CONSUMER.MSG.NEXT."+name)
		})
	case strings.HasPrefix(stream, "KV_") && May(u, subject):
		for name, m := range after.messages {
			if strings.HasPrefix(name, stream+"/") && m.subject == subject {
				return true
			}
		}
	}
	return false
}

// May reports whether a user may publish on a subject.
func May(u bus.User, subject string) bool {
	return slices.ContainsFunc(u.Publish(), func(pattern string) bool { return matches(pattern, subject) })
}

// matches says whether a pattern covers a subject.
func matches(pattern, subject string) bool {
	want, have := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, token := range want {
		switch {
		case token == ">":
			return len(have) > i
		case i >= len(have) || (token != "*" && token != have[i]):
			return false
		}
	}
	return len(want) == len(have)
}

func names[V any](a, b map[string]V) []string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

// Strays lists messages that a rampage made up where its user may not write.
func Strays(ctx context.Context, s System, u bus.User) ([]string, error) {
	admin, err := s.connect(bus.UserAdmin)
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	js, err := jetstream.New(admin)
	if err != nil {
		return nil, fmt.Errorf("strays: %w", err)
	}
	var found []string
	for _, name := range streams() {
		stream, err := js.Stream(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("strays: %w", err)
		}
		info, err := stream.Info(ctx, jetstream.WithSubjectFilter(">"))
		if err != nil {
			return nil, fmt.Errorf("strays: %w", err)
		}
		for subject := range info.State.Subjects {
			if May(u, subject) {
				continue
			}
			msg, err := stream.GetLastMsgForSubject(ctx, subject)
			if err == nil && strings.HasPrefix(string(msg.Data), Forged) {
				found = append(found, subject)
			}
		}
	}
	return found, nil
}
