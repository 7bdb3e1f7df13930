package jsonl

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tapline/tapline/pkg/batch"
)

// failing is a file whose disk fails when it is asked to.
type failing struct {
	*file
	fails bool
}

func (f *failing) settle() error {
	if !f.fails {
		return f.file.settle()
	}
	f.fails = false
	good := f.f
	defer func() { f.f = good }()
	broken, writer, err := os.Pipe() // what is no file cannot be synced
	if err != nil {
		return err
	}
	defer writer.Close()
	defer broken.Close()
	f.f = broken
	err = f.file.settle()
	if err := good.Truncate(f.durable); err != nil { // a pipe cannot do that either
		return err
	}
	if _, err := good.Seek(f.durable, 0); err != nil {
		return err
	}
	return err
}

// TestASyncThatFailsConfirmsNothing: not even for the connection that syncs next, whose rows are as
// lost, and which the kernel would tell that all is well.
func TestASyncThatFailsConfirmsNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	f := &failing{file: &file{cfg: FileConfig{Path: path, Keep: 1}}}
	if err := f.open(); err != nil {
		t.Fatal(err)
	}
	s := &Sink{out: f}
	open := func() *Conn {
		c, err := s.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	row := func(text string) *batch.Events {
		return &batch.Events{Table: "t", Events: []batch.Event{{JSON: []byte(text)}}}
	}
	one, two := open(), open()
	if err := one.Send(row("1")); err != nil {
		t.Fatal(err)
	}
	if n, err := one.Confirm(t.Context()); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if err := errors.Join(one.Send(row("2")), two.Send(row("3"))); err != nil {
		t.Fatal(err)
	}
	f.fails = true
	for _, c := range []*Conn{one, two} {
		if n, err := c.Confirm(t.Context()); n != 0 || !errors.Is(err, errNotDurable) {
			t.Errorf("%d confirmed, %v", n, err)
		}
		if err := c.Send(row("4")); !errors.Is(err, errNotDurable) {
			t.Errorf("goes on: %v", err)
		}
	}
	again := open()
	if err := errors.Join(again.Send(row("2")), again.Send(row("3"))); err != nil {
		t.Fatal(err)
	}
	if n, err := again.Confirm(t.Context()); n != 2 || err != nil {
		t.Errorf("%d confirmed, %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const each = `{"table":"t","time":"1970-01-01T00:00:00.000Z","event":`
	if got, want := string(data), each+"1}\n"+each+"2}\n"+each+"3}\n"; got != want {
		t.Errorf("%q", got)
	}
}
