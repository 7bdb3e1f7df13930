package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// powercut takes the broker's power away between two of its instructions: what it had not synced is
// gone. Without a disk of its own, what it had only in memory.
func (w *world) powercut(ctx context.Context, a Action) error {
	w.power.Lock()
	defer w.power.Unlock()
	p := w.processes[broker]
	store, snapshot := filepath.Join(w.dir, "store"), filepath.Join(w.dir, "snapshot")
	p.signal(syscall.SIGSTOP)
	if !sleep(ctx, 20*time.Millisecond) {
		return nil
	}
	var err error
	if w.disk != nil {
		err = w.disk.snapshot(ctx, snapshot)
	} else {
		err = copyTree(store, snapshot)
	}
	p.end(syscall.SIGKILL)
	switch {
	case err != nil:
		return errors.Join(err, os.RemoveAll(snapshot), p.start())
	case w.disk != nil:
		err = w.disk.loseUnsynced(snapshot)
	default:
		err = errors.Join(os.RemoveAll(store), os.Rename(snapshot, store))
	}
	if err != nil {
		return fmt.Errorf("power cut: %w", err)
	}
	if a.Verb == corrupt {
		if err := w.damage(a.Arg); err != nil {
			return err
		}
	}
	sleep(ctx, a.For)
	return p.start()
}

// stopped is what the server says when a stream takes nothing more until it starts again.
const stopped = "Critical write error"

// fillDisk leaves the broker no room for a while. Then it does what an operator would: free the
// disk, and start the server again if a stream has stopped.
func (w *world) fillDisk(ctx context.Context, a Action) error {
	if w.disk == nil {
		return nil
	}
	w.power.Lock()
	defer w.power.Unlock()
	p := w.processes[broker]
	before := size(p.log())
	w.disk.fillUp()
	sleep(ctx, a.For)
	if err := w.disk.free(); err != nil {
		return err
	}
	said, err := os.ReadFile(p.log())
	if err != nil {
		return fmt.Errorf("look at the broker: %w", err)
	}
	n := strings.Count(string(said[before:]), stopped)
	w.log("the disk is free again; %d streams have stopped", n)
	if n == 0 {
		return nil
	}
	p.end(syscall.SIGTERM)
	return p.start()
}
