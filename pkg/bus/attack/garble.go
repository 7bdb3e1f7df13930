package attack

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/tapline/tapline/pkg/bus"
)

// garbled are bytes that no client library sends. Each goes over a connection of its own.
func garbled(admin string) []string {
	forge := func(line string) string { return fmt.Sprintf(line, "$KV.QUOTA.main.siem") + "\r\nforge\r\n" }
	return []string{
		"PUB a 999999999\r\n", "PUB a -1\r\n", "PUB a 99999999999999999999999999\r\n", "PUB a 0x5\r\nforge\r\n", "HPUB a 10 5\r\nforge\r\n",
		forge("PUB %s\x00 5"), forge("PUB  %s  _INBOX.x  5"), forge("PUB\t%s\t5"), forge("RMSG TAPLINE %s 5"), forge("RMSG TAPLINE %s + x 5"), forge("LMSG %s 5"), forge("MSG %s 1 5"),
		forge("HMSG %s 1 0 5"), "A+ TAPLINE\r\n", "RS+ TAPLINE >\r\n", "RS- TAPLINE >\r\n", "LS+ >\r\n", "SUB > > > >\r\n", "SUB " + strings.Repeat("a.", 10_000) + "a 1\r\n",
		`INFO {"server_id":"x","nonce":"x","connect_urls":["nats://127.0.0.1:1"]}` + "\r\n", `CONNECT {"user":"` + admin + `","pass":""}` + "\r\n" + forge("PUB %s 5"),
		`CONNECT {"account":"TAPLINE","new_account":true}` + "\r\n" + forge("PUB %s 5"), `CONNECT {"user":` + "\r\n", "\x00\xff\xfe\r\n", strings.Repeat("P", 1<<16), "UNSUB 99999\r\n",
		"PUB a 9000000\r\n" + strings.Repeat("x", 9_000_000) + "\r\n", "+OK\r\n-ERR 'x'\r\nPONG\r\n",
	}
}

// garble sends them, with and without having logged in. Whatever the server answers is right as
// long as it stays there.
func garble(ctx context.Context, c bus.Config, admin string) error {
	u, err := url.Parse(strings.Split(c.URL, ",")[0])
	if err != nil {
		return fmt.Errorf("garble: %w", err)
	}
	login, err := json.Marshal(map[string]any{"user": c.User, "pass": c.Password.Reveal(), "verbose": false, "protocol": 1, "headers": true, "no_responders": true})
	if err != nil {
		return fmt.Errorf("garble: %w", err)
	}
	for _, text := range append(garbled(admin), "PUB $KV.QUOTA.main.siem 5\r\nforge\r\n") {
		for _, first := range []string{"", "CONNECT " + string(login) + "\r\n"} {
			if err := say(ctx, u.Host, first+text+"PING\r\n"); err != nil {
				return fmt.Errorf("garble: after %.40q: %w", text, err)
			}
		}
	}
	return nil
}

// say opens a connection and reads until it is closed or answered.
func say(ctx context.Context, address, text string) error {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("the server is gone: %w", err)
	}
	defer func() { _ = conn.Close() }() // nothing was promised to it
	_ = conn.SetDeadline(time.Now().Add(200 * time.Millisecond))
	_, _ = conn.Write([]byte(text)) // the server may hang up in the middle
	for r := bufio.NewReader(conn); ; {
		line, err := r.ReadString('\n')
		if err != nil || strings.HasPrefix(line, "PONG") {
			return nil
		}
	}
}
