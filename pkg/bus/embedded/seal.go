package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/tapline/tapline/pkg/config"
)

// A server that has the wrong key for its store starts without its streams, and one that is to make
// them then removes the old ones. So the key is tried here, before a server is let near the store.

var (
	errInUse      = errors.New("the store is in use: stop the NATS server first")
	errNotSealed  = errors.New("the NATS server could not encrypt everything")
	errUnclean    = errors.New("the NATS server was not shut down, and cannot repair the store")
	errHalfSealed = errors.New("an encryption of the store was interrupted: run tapctl seal again")
)

// Sealed is what [Seal] did.
type Sealed struct {
	Files     int `json:"files"`     // keys of blocks, streams and consumers
	Replaced  int `json:"replaced"`  // of these, keys that were sealed with the previous key
	Encrypted int `json:"encrypted"` // of these, what was in clear
}

// places in a directory of a store.
func storeOf(dir string) string { return filepath.Join(dir, "jetstream") }
func workOf(dir string) string  { return filepath.Join(dir, "encrypting") }
func clearOf(dir string) string { return filepath.Join(dir, "clear") }
func lockOf(dir string) string  { return filepath.Join(dir, "lock") }

// store is what a directory has, by its condition.
type store map[condition][]keyfile

// judge looks at every key file, and refuses a store that the keys do not open.
func judge(dir string, k Keys) (store, error) {
	files, err := keyfiles(storeOf(dir))
	if err != nil {
		return nil, err
	}
	found := store{}
	for _, f := range files {
		c, err := f.condition(k)
		if err != nil {
			return nil, err
		}
		found[c] = append(found[c], f)
	}
	closed := found[foreign]
	switch {
	case len(closed) == 0:
		return found, nil
	case k.Key == "":
		return nil, config.Invalid(k.named("NATS_ENCRYPTION_KEY"), "", fmt.Sprintf(
			"the streams in %s are encrypted and no key is given; nothing was changed. Want the key that they were encrypted with (NATS_ENCRYPTION_KEY_FILE)", dir))
	}
	return nil, config.Invalid(k.named("NATS_ENCRYPTION_KEY"), config.Redacted, fmt.Sprintf(
		"opens %d of %d files in %s, and not %s; nothing was changed. Want the key that they were encrypted with, "+
			"or, if you replace that key, the old one, too (NATS_ENCRYPTION_PREVIOUS_KEY_FILE)",
		len(found[current])+len(found[older]), len(files)-len(found[absent]), dir, strings.TrimPrefix(closed[0].path, dir+string(filepath.Separator))))
}

// CheckStore reports whether a NATS server with these keys would find what is in its store_dir. It
// changes nothing; the server may run.
func CheckStore(dir string, k Keys) error {
	for _, left := range []string{workOf(dir), clearOf(dir)} {
		if _, err := os.Stat(left); err == nil {
			return config.Invalid("store", left, errHalfSealed.Error())
		}
	}
	found, err := judge(dir, k)
	if err != nil {
		return err
	}
	if n := len(found[clear]); k.Key != "" && n > 0 {
		return config.Invalid("store", dir, fmt.Sprintf("%d files are in clear and a key is given: stop the NATS server and run tapctl seal", n))
	}
	if n := len(found[older]); n > 0 {
		return config.Invalid("store", dir, fmt.Sprintf("%d files have the previous key: stop the NATS server and run tapctl seal", n))
	}
	return nil
}

// Seal brings a store that no server uses to its key: what has the previous key gets the new one,
// and what is in clear is encrypted. It may die at any moment, and is then run again. The server
// could do both itself. But it forgets the places of consumers when a key is replaced, and it loses
// a block when it dies while it encrypts one.
func Seal(dir string, k Keys, log *slog.Logger) (Sealed, error) {
	lock := flock.New(lockOf(dir))
	mine, err := lock.TryLock()
	switch {
	case err != nil:
		return Sealed{}, fmt.Errorf("lock the store: %w", err)
	case !mine:
		return Sealed{}, fmt.Errorf("%s: %w", dir, errInUse)
	}
	done, err := seal(dir, k, log)
	return done, errors.Join(err, lock.Close())
}

// seal is Seal for one that has the lock.
func seal(dir string, k Keys, log *slog.Logger) (Sealed, error) {
	if err := finish(dir); err != nil {
		return Sealed{}, fmt.Errorf("finish the encryption of %s: %w", dir, err)
	}
	found, err := judge(dir, k)
	if err != nil {
		return Sealed{}, err
	}
	if len(found[older]) > 0 || k.Key != "" && len(found[clear]) > 0 {
		if err := unused(storeOf(dir)); err != nil {
			return Sealed{}, err
		}
	}
	done := Sealed{Replaced: len(found[older])}
	for _, f := range found[older] {
		if err := f.reseal(k, filepath.Join(dir, "key.new")); err != nil {
			return Sealed{}, err
		}
	}
	if done.Files = len(found[current]) + done.Replaced; k.Key == "" || len(found[clear]) == 0 {
		return done, nil
	}
	log.Info("encrypt the store", slog.String("dir", dir), slog.Int("files", len(found[clear])))
	if err := encrypt(dir, k); err != nil {
		return Sealed{}, fmt.Errorf("encrypt %s, which is as it was: %w", dir, errors.Join(err, os.RemoveAll(workOf(dir))))
	}
	done.Encrypted = len(found[clear])
	done.Files += done.Encrypted
	return done, finish(dir)
}

// encrypt has a server encrypt a copy, and puts it in the place of the original.
func encrypt(dir string, k Keys) error {
	groups, err := filepath.Glob(filepath.Join(storeOf(dir), "*", "_js_"))
	if err != nil || len(groups) > 0 {
		return errors.Join(err, config.Invalid("store", dir, "is that of a server in a cluster: empty it instead, and the server copies it from the others, with the key"))
	}
	original, err := fingerprint(storeOf(dir))
	if err != nil {
		return err
	}
	if err := copyTree(storeOf(dir), storeOf(workOf(dir))); err != nil {
		return fmt.Errorf("copy the store, for which the disk needs space: %w", err)
	}
	if err := encryptCopy(dir, k); err != nil {
		return err
	}
	if err := filepath.WalkDir(workOf(dir), func(path string, _ fs.DirEntry, err error) error { return errors.Join(err, syncPath(path)) }); err != nil {
		return fmt.Errorf("sync the copy: %w", err)
	}
	if err := unchanged(storeOf(dir), original); err != nil {
		return err
	}
	if err := os.Rename(storeOf(dir), clearOf(dir)); err != nil {
		return fmt.Errorf("put the original aside: %w", err)
	}
	if err := unchanged(clearOf(dir), original); err != nil { // a server was started just now
		return errors.Join(err, os.Rename(clearOf(dir), storeOf(dir)))
	}
	return nil
}

// encryptCopy has a server encrypt the copy, and looks at what became of it.
func encryptCopy(dir string, k Keys) error {
	before, err := states(workOf(dir), Keys{})
	if errors.Is(err, errUnclean) { // it is clean now, and what the server says next counts
		before, err = states(workOf(dir), Keys{})
	}
	if err != nil {
		return err
	}
	if err := removeIndexes(storeOf(workOf(dir))); err != nil {
		return err
	}
	after, err := states(workOf(dir), k)
	if err != nil {
		return err
	}
	for name, last := range before {
		if kept, ok := after[name]; !ok || kept < last {
			return fmt.Errorf("%w: %s is at %d of %d", errNotSealed, name, kept, last)
		}
	}
	found, err := judge(workOf(dir), k)
	if err != nil {
		return err
	}
	if left := found[clear]; len(left) > 0 {
		return fmt.Errorf("%w: %s is in clear", errNotSealed, left[0].data)
	}
	return nil
}

// finish ends an encryption whose copy is whole, and clears away one whose copy may not be.
func finish(dir string) error {
	var at exist
	store, copied := at.is(storeOf(dir)), at.is(storeOf(workOf(dir)))
	aside, working := at.is(clearOf(dir)), at.is(workOf(dir))
	switch {
	case at.err != nil || !aside && !working:
		return at.err
	case aside && copied && store: // a server was started between the two renames
		return config.Invalid("store", storeOf(dir), fmt.Sprintf(
			"was made after an encryption was interrupted, and the streams are in %s: nothing was changed. "+
				"Stop the NATS server, move %s out of %s, and run tapctl seal again", storeOf(workOf(dir)), storeOf(dir), dir))
	}
	if err := unused(storeOf(dir), workOf(dir), clearOf(dir)); err != nil {
		return err
	}
	if aside && !store {
		if err := os.Rename(storeOf(workOf(dir)), storeOf(dir)); err != nil {
			return err
		}
	}
	if aside {
		if err := syncPath(dir); err != nil {
			return err
		}
	}
	return errors.Join(os.RemoveAll(workOf(dir)), os.RemoveAll(clearOf(dir)))
}

// states reports where every stream and every consumer of a store is, as a server with a key finds
// them. What the server complains of is an error: it says there, and nowhere else, that it leaves
// something out.
func states(dir string, k Keys) (map[string]uint64, error) {
	heard := &complaints{}
	ns, err := server.NewServer(options(Options{Dir: dir, Keys: k}))
	if err != nil {
		return nil, fmt.Errorf("start a NATS server: %w", err)
	}
	ns.SetLoggerV2(heard, false, false, false)
	ns.Start() // returns when the streams are there
	defer ns.WaitForShutdown()
	defer ns.Shutdown()
	if !ns.ReadyForConnections(startWait) {
		return nil, ErrNotReady
	}
	if err := enableAll(ns, storeOf(dir)); err != nil {
		return nil, err
	}
	info, err := ns.Jsz(&server.JSzOptions{Accounts: true, Streams: true, Consumer: true})
	if err != nil {
		return nil, fmt.Errorf("ask the NATS server: %w", err)
	}
	if err := heard.err(); err != nil {
		return nil, err
	}
	at := map[string]uint64{}
	for _, account := range info.AccountDetails {
		for _, stream := range account.Streams {
			name := account.Name + "/" + stream.Name
			at["stream "+name] = stream.State.LastSeq
			for _, c := range stream.Consumer {
				at["consumer "+c.Name+" of "+name] = c.AckFloor.Stream
			}
		}
	}
	return at, nil
}

// enableAll has a server find the streams of every account that a store has, and not only those of
// the account that is there without a configuration.
func enableAll(ns *server.Server, store string) error {
	accounts, err := os.ReadDir(store)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, dir := range accounts {
		if !dir.IsDir() || dir.Name() == server.DEFAULT_SYSTEM_ACCOUNT {
			continue
		}
		account, _ := ns.LookupOrRegisterAccount(dir.Name())
		if account.JetStreamEnabled() {
			continue
		}
		if err := account.EnableJetStream(nil, nil); err != nil {
			return fmt.Errorf("find the streams of account %s: %w", dir.Name(), err)
		}
	}
	return nil
}

// removeIndexes has the server look at every block, and encrypt it. One without a byte it could
// not.
func removeIndexes(store string) error {
	return filepath.WalkDir(store, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && (d.Name() == "index.db" || info.Size() == 0 && filepath.Ext(path) == ".blk") {
			err = os.Remove(path) //nolint:gosec // the copy is ours
		}
		return err
	})
}

func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.MkdirAll(target, 0o700)
		}
		return copyFile(path, target)
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from) //nolint:gosec // the operator names the directory
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // as above
	if err != nil {
		return err
	}
	_, err = out.ReadFrom(in)
	return errors.Join(err, out.Close())
}

func syncPath(path string) error {
	f, err := os.Open(path) //nolint:gosec // as above
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
