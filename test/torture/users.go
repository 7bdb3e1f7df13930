package torture

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/tapline/tapline/pkg/bus"
)

// users are the users of the broker, one for each service, as in a deployment: configuration and
// passwords in files of a folder.
type users struct {
	dir string

	mu        sync.Mutex
	passwords map[string]string
	changes   int
}

// newUsers writes the configuration of a server: that of deploy/nats, at another place.
func newUsers(dir, store string, port int) (*users, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	conf, err := os.ReadFile(filepath.Join(root, "deploy", "nats", "nats.conf")) //nolint:gosec // in our own repository
	if err != nil {
		return nil, fmt.Errorf("configure the broker: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("configure the broker: %w", err)
	}
	text := strings.NewReplacer(
		"listen: 0.0.0.0:4222", "listen: 127.0.0.1:"+strconv.Itoa(port), "http: 127.0.0.1:8222", "", "/data", store,
	).Replace(string(conf))
	u := &users{dir: dir, passwords: map[string]string{"sys": "sys"}}
	for _, user := range bus.Users() {
		u.passwords[user.Name] = user.Name
		if err := replace(u.file(user.Name), user.Name); err != nil {
			return nil, err
		}
	}
	for name, text := range map[string]string{"nats.conf": text, "users.conf": bus.UsersConf(), "passwords.conf": u.conf(), "encryption.conf": ""} {
		if err := replace(filepath.Join(dir, name), text); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// file holds the password of a user, for its services.
func (u *users) file(user string) string { return filepath.Join(u.dir, "password-"+user) }

func (u *users) conf() string {
	var b strings.Builder
	for user, password := range u.passwords {
		fmt.Fprintf(&b, "PASSWORD_%s = %q\n", strings.ToUpper(user), password)
	}
	return b.String()
}

// change gives a user another password: its services have it before the server does.
func (u *users) change(user string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.changes++
	u.passwords[user] = fmt.Sprintf("%s-%d", user, u.changes)
	if err := replace(u.file(user), u.passwords[user]); err != nil {
		return err
	}
	return replace(filepath.Join(u.dir, "passwords.conf"), u.conf())
}

// environ is how a program connects as a user.
func (u *users) environ(user string) []string {
	return []string{"NATS_USER=" + user, "NATS_PASSWORD_FILE=" + u.file(user)}
}

// newPassword changes the password of a stage, and lets the broker read it.
func (w *world) newPassword(user string) error {
	if err := w.users.change(user); err != nil {
		return err
	}
	w.processes[broker].signal(syscall.SIGHUP)
	return nil
}

// replace writes a file at once.
func replace(path, text string) error {
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
