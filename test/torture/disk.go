package torture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

var (
	errDisk  = errors.New("no file system of its own")
	errMoved = errors.New("the disk is written to all the time")
)

// disk is a file system in a file: it fills up without harm to others, and what was not synced is
// not in the file. Linux, root and loop devices are needed.
type disk struct{ file, dir string }

// diskSize is as it looks from inside; the file has holes.
const diskSize = 1 << 30

func newDisk(file, dir string) (*disk, error) {
	d := &disk{file, dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("%w: %w", errDisk, err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return nil, fmt.Errorf("%w: %w", errDisk, err)
	}
	if err := errors.Join(os.Truncate(file, diskSize), tool("mkfs.ext4", "-q", "-F", "-m", "0", file), d.mount()); err != nil {
		return nil, errors.Join(errDisk, err, d.close())
	}
	return d, nil
}

// mount lets the kernel write of its own accord as seldom as may be: what is not synced stays in
// memory for long, and nothing is written while the file is copied.
func (d *disk) mount() error {
	return tool("mount", "-o", "loop,commit=600,noinit_itable", d.file, d.dir)
}

// unmount ends the file system, and with it its loop device. A process that still has a file open
// must not keep it for ever: then it ends with that process.
func (d *disk) unmount() error {
	err := tool("umount", d.dir)
	if err == nil {
		return nil
	}
	if lazy := tool("umount", "-l", d.dir); lazy != nil {
		return errors.Join(err, lazy)
	}
	return nil
}

// close ends it if it is there.
func (d *disk) close() error {
	device, err := d.device()
	if err != nil || device == "" {
		return err
	}
	return d.unmount()
}

// device is the folder in /sys of the loop device; empty if there is none.
func (d *disk) device() (string, error) {
	loops, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return "", fmt.Errorf("find the loop device: %w", err)
	}
	file, err := filepath.Abs(d.file)
	if err != nil {
		return "", fmt.Errorf("find the loop device: %w", err)
	}
	for _, path := range loops {
		if name, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(name)) == file { //nolint:gosec // of the kernel
			return filepath.Dir(filepath.Dir(path)), nil
		}
	}
	return "", nil
}

// written is how much was ever written to the device, and what is under way.
func (d *disk) written() (string, error) {
	device, err := d.device()
	if err != nil {
		return "", err
	}
	stat, err := os.ReadFile(filepath.Join(device, "stat")) //nolint:gosec // of the kernel
	if err != nil {
		return "", fmt.Errorf("count what is written: %w", err)
	}
	fields := bytes.Fields(stat)
	if len(fields) < 9 {
		return "", fmt.Errorf("%w: /sys says %q", errDisk, stat)
	}
	return string(fields[6]) + " sectors, under way " + string(fields[8]), nil
}

// snapshot copies the file as it is at one instant: when something was written meanwhile, it is
// copied again, for such a copy would be of no instant at all.
func (d *disk) snapshot(ctx context.Context, to string) error {
	for range 10 {
		before, err := d.written()
		if err != nil {
			return err
		}
		if err := tool("cp", "--sparse=always", d.file, to); err != nil {
			return err
		}
		after, err := d.written()
		if err != nil {
			return err
		}
		if before == after && strings.HasSuffix(after, " 0") {
			return nil
		}
		if !sleep(ctx, 20*time.Millisecond) {
			break
		}
	}
	return errMoved
}

// loseUnsynced has the file system continue from a snapshot. No process may have a file of it open.
func (d *disk) loseUnsynced(snapshot string) error {
	if err := d.unmount(); err != nil {
		return err
	}
	if err := os.Rename(snapshot, d.file); err != nil {
		return fmt.Errorf("power cut: %w", err)
	}
	if err := d.mount(); err != nil {
		return err
	}
	return d.free() // that it was freed may not have been synced
}

func (d *disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// fillUp takes all room there is: reserved at once as far as it goes, and the rest written.
func (d *disk) fillUp() {
	_ = tool("fallocate", "-l", fmt.Sprint(diskSize), d.ballast()) // there is less: it takes what it gets, and fails
	file, err := os.OpenFile(d.ballast()+".rest", os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil { // no room for a name
		return
	}
	defer file.Close()
	for _, size := range []int{1 << 20, 4 << 10} {
		for block := make([]byte, size); ; {
			if _, err := file.Write(block); err != nil {
				break
			}
		}
	}
}

func (d *disk) free() error {
	if err := errors.Join(os.RemoveAll(d.ballast()), os.RemoveAll(d.ballast()+".rest")); err != nil {
		return fmt.Errorf("free the disk: %w", err)
	}
	return nil
}

// tool runs a program of the system. The end of a run does not reach it: it is what tidies up then.
func tool(name string, args ...string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("%w: %w", errDisk, err)
	}
	cmd := &exec.Cmd{Path: path, Args: append([]string{name}, args...)}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}
