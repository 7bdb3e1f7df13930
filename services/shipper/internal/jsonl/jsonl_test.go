package jsonl_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/services/shipper/internal/jsonl"
)

func events(rows ...string) *batch.Events {
	e := &batch.Events{Tenant: "main", Table: "my.table"}
	for _, row := range rows {
		e.Events = append(e.Events, batch.Event{PullMS: 1773216000123, JSON: []byte(row)})
	}
	return e
}

func line(row string) string {
	return `{"table":"my.table","time":"2026-03-11T08:00:00.123Z","event":` + row + "}\n"
}

// write opens the file, writes a batch, confirms it and closes.
func write(t *testing.T, c jsonl.FileConfig, rows ...string) {
	t.Helper()
	sink, err := jsonl.NewFile(c)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := sink.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Send(events(rows...)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Confirm(t.Context()); n != 1 || err != nil {
		t.Fatalf("%d confirmed, %v", n, err)
	}
	conn.Close()
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestTornLineIsMended(t *testing.T) {
	t.Parallel()
	for name, torn := range map[string]string{
		"nothing": "", "only a torn line": `{"table":"x`, "a whole and a torn one": line("{}") + `{"ta`,
		"a long torn one": line("{}") + strings.Repeat("x", 200_000), "whole": line("{}"),
	} {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, []byte(torn), 0o600); err != nil {
			t.Fatal(err)
		}
		write(t, jsonl.FileConfig{Path: path, Keep: 1}, `{"n":1.0}`)
		want := line(`{"n":1.0}`)
		if strings.HasPrefix(torn, line("{}")) {
			want = line("{}") + want
		}
		if got := content(t, path); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestFullFilesAreRenamed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	size := int64(len(line(`{"n":0}`)))
	for i := range 8 {
		write(t, jsonl.FileConfig{Path: path, MaxBytes: 2 * size, Keep: 2}, fmt.Sprintf(`{"n":%d}`, i))
	}
	for name, want := range map[string]string{
		path: line(`{"n":6}`) + line(`{"n":7}`), path + ".1": line(`{"n":4}`) + line(`{"n":5}`), path + ".2": line(`{"n":2}`) + line(`{"n":3}`),
	} {
		if got := content(t, name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if _, err := os.Stat(path + ".3"); !os.IsNotExist(err) {
		t.Errorf("more files are kept than asked for: %v", err)
	}
}

// TestFilesOfEarlierPeriodsAreRenamed: by the time of their last row, also if that was before a
// restart.
func TestFilesOfEarlierPeriodsAreRenamed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	c := jsonl.FileConfig{Path: path, Period: 24 * time.Hour, Keep: 9}
	write(t, c, "1")
	day := time.Now().Add(-24 * time.Hour)
	if err := os.Chtimes(path, day, day); err != nil {
		t.Fatal(err)
	}
	write(t, c, "2")
	if one, two := content(t, path+".1"), content(t, path); one != line("1") || two != line("2") {
		t.Errorf("%q, %q", one, two)
	}
	c.Period = time.Millisecond
	sink, err := jsonl.NewFile(c)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := sink.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for n := 3; ; n++ { // rows of the same process, until a millisecond is over
		if err := conn.Send(events(fmt.Sprint(n))); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path + ".3"); err == nil {
			break
		}
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestOneProcessWritesAFile: two would write over each other.
func TestOneProcessWritesAFile(t *testing.T) {
	t.Parallel()
	c := jsonl.FileConfig{Path: filepath.Join(t.TempDir(), "f"), Keep: 1}
	sink, err := jsonl.NewFile(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jsonl.NewFile(c); err == nil || !strings.Contains(err.Error(), "another process writes it") {
		t.Errorf("a second writer: %v", err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, c, "1")
}

func TestUnusablePath(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := jsonl.NewFile(jsonl.FileConfig{Path: filepath.Join(file, "below"), Keep: 1})
	if problem, ok := errors.AsType[*config.ProblemError](err); !ok || problem.Variable != "SINK_FILE_PATH" {
		t.Errorf("%v", err)
	}
	for _, c := range []jsonl.FileConfig{{Keep: 1}, {Path: "x", Keep: 0}, {Path: "x", Keep: 1, MaxBytes: -1}, {Path: "x", Keep: 1, Period: -1}} {
		if c.Validate() == nil {
			t.Errorf("%+v is valid", c)
		}
	}
}

// TestRotationThatFailsIsTriedAgain: what was not written is redelivered, and what was is kept.
func TestRotationThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	blocker := filepath.Join(path+".1", "x")
	if err := os.MkdirAll(blocker, 0o700); err != nil {
		t.Fatal(err)
	}
	sink, err := jsonl.NewFile(jsonl.FileConfig{Path: path, MaxBytes: 1, Keep: 1})
	if err != nil {
		t.Fatal(err)
	}
	c, err := sink.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	send := func(row string) error { return c.Send(events(row)) }
	if err := send("1"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := send("2"); err == nil {
			t.Fatal("rotated over a directory")
		}
	}
	if err := os.RemoveAll(path + ".1"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(send("2"), sink.Close()); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]string{path + ".1": "1", path: "2"} {
		if got := content(t, name); got != line(row) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestOnlyItsOwnerReadsTheFile, whichever rights new files have by default, and also after a
// rotation: rows are mail data.
func TestOnlyItsOwnerReadsTheFile(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "rows")
	for range 3 {
		write(t, jsonl.FileConfig{Path: filepath.Join(dir, "events.jsonl"), MaxBytes: 10, Keep: 2}, `{"a":1}`)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(files, nil) {
		path, want := dir, os.FileMode(0o700)
		if f != nil {
			path, want = filepath.Join(dir, f.Name()), 0o600
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, not %v: %v", path, info.Mode().Perm(), want, err)
		}
	}
	if len(files) != 4 { // the file, two older ones, the lock
		t.Errorf("%d files", len(files))
	}
}
