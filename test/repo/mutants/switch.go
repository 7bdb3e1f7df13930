package mutants

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Names of environment variables: which mutant a program is, and the file that takes the numbers of
// those which it reached.
const (
	On      = "TAPLINE_MUTANT"
	Reached = "TAPLINE_MUTANTS_REACHED"
)

// Switched returns a file that is all of some of its mutants: which one, [On] says. The lines stay
// where they are.
func (s Source) Switched(chosen map[int]Mutant) []byte {
	w := &switcher{source: s.Text}
	for n, m := range chosen {
		w.list = append(w.list, switched1{n, m})
	}
	slices.SortFunc(w.list, func(a, b switched1) int {
		return cmp.Or(a.offset-b.offset, b.end-a.end, int(b.kind-a.kind)) // the outer ones first
	})
	text := w.text(span{0, len(s.Text)}, w.list)
	return []byte(text)
}

type switched1 struct {
	n int
	Mutant
}

type switcher struct {
	source []byte
	list   []switched1
}

// text is a piece of the source with the mutants in it.
func (w *switcher) text(of span, list []switched1) string {
	var b strings.Builder
	at := of.from
	for len(list) > 0 {
		m := list[0]
		list = list[1:]
		if m.offset < at || m.end > of.to {
			continue // it is outside
		}
		inside := 0
		for inside < len(list) && list[inside].offset < m.end {
			inside++
		}
		b.Write(w.source[at:m.offset])
		b.WriteString(w.one(m, list[:inside]))
		list, at = list[inside:], m.end
	}
	b.Write(w.source[at:of.to])
	return b.String()
}

// one is a mutant and its original, with the mutants in them.
func (w *switcher) one(m switched1, inner []switched1) string {
	was := w.text(span{m.offset, m.end}, inner)
	switch m.kind {
	case never:
		return fmt.Sprintf("(%s) && !mutantIs(%d)", was, m.n)
	case always:
		return fmt.Sprintf("(%s) || mutantIs(%d)", was, m.n)
	case dropped:
		return fmt.Sprintf("if !mutantIs(%d) { %s }", m.n, was)
	case noError:
		return fmt.Sprintf("mutantError(%d, %s)", m.n, was)
	case number:
		return fmt.Sprintf("mutantPick[%s](%d, %s, %s)", m.of, m.n, was, m.text)
	default:
		operator := strings.TrimSpace(m.text[m.x.to-m.x.from:])
		operator, _, _ = strings.Cut(operator, " ")
		now := w.text(m.x, inner) + " " + operator + " " + w.text(m.y, inner)
		return fmt.Sprintf("func() %s { if mutantIs(%d) { return %s }; return %s }()", m.of, m.n, now, was)
	}
}

// Support is the file that a package of switched files needs beside them.
func Support(pack string) []byte { return []byte("package " + pack + "\n" + support) }

const support = `
import (
	"fmt"
	"os"
	"strconv"
	"sync"
)

var (
	mutantOn, _ = strconv.Atoi(os.Getenv("` + On + `"))
	mutantPlace = os.Getenv("` + Reached + `")
	mutantSeen  sync.Map
)

// mutantIs reports whether a mutant is on, and records that it was reached.
func mutantIs(n int) bool {
	if mutantPlace != "" {
		if _, before := mutantSeen.LoadOrStore(n, true); !before {
			if f, err := os.OpenFile(mutantPlace, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
				fmt.Fprintln(f, n)
				f.Close()
			}
		}
	}
	return n == mutantOn
}

func mutantError(n int, err error) error {
	if err != nil && mutantIs(n) {
		return nil
	}
	return err
}

func mutantPick[T any](n int, was, now T) T {
	if mutantIs(n) {
		return now
	}
	return was
}
`
