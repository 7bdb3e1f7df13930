package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"

	"github.com/tapline/tapline/test/repo/mutants"
)

// pack is one package under trial.
type pack struct {
	folder, dir string
	o           options
	out         io.Writer
	judged      map[string]bool
	sources     []mutants.Source
	drawn       map[int]candidate // by the number that switches it on
	tests       []test
}

type candidate struct {
	mutants.Mutant
	source int
}

func (p *pack) play() (score int, err error) {
	if p.dir, err = os.MkdirTemp("", "mutants-*"); err != nil {
		return 0, fmt.Errorf("mutants: %w", err)
	}
	defer os.RemoveAll(p.dir)
	if p.sources, err = mutants.Package(p.folder); err != nil {
		return 0, err
	}
	if err := p.build(p.candidates()); err != nil {
		return 0, err
	}
	if p.tests, err = p.survey(); err != nil {
		return 0, err
	}
	return p.trials(), nil
}

// candidates are all mutants, in the order in which the seed draws them.
func (p *pack) candidates() (all []candidate) {
	for i, s := range p.sources {
		for _, m := range s.Mutants {
			all = append(all, candidate{m, i})
		}
	}
	h := fnv.New64a()
	_, _ = io.WriteString(h, p.folder)
	draw := rand.New(rand.NewPCG(p.o.seed, h.Sum64())) //nolint:gosec // to be repeated
	draw.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// build draws mutants until the program with them compiles: one that does not is drawn anew.
func (p *pack) build(all []candidate) error {
	p.drawn = make(map[int]candidate)
	for number := 1; ; {
		for len(p.drawn) < p.o.count && len(all) > 0 {
			if c := all[0]; c.Valid(p.sources[c.source].Text) {
				p.drawn[number] = c
				number++
			}
			all = all[1:]
		}
		report, err := p.compile()
		if err == nil {
			return nil
		}
		before := len(p.drawn)
		for n, c := range p.drawn {
			if complained(report, c) {
				delete(p.drawn, n)
			}
		}
		if len(p.drawn) == before {
			return fmt.Errorf("its tests do not compile: %w\n%s", err, report)
		}
	}
}

// compile builds the tests of the package with all drawn mutants, of which each can be switched on.
func (p *pack) compile() (report []byte, err error) {
	replace := make(map[string]string)
	write := func(path, name string, text []byte) {
		replace[path] = filepath.Join(p.dir, name)
		err = errors.Join(err, os.WriteFile(replace[path], text, 0o600))
	}
	for i, s := range p.sources {
		chosen := make(map[int]mutants.Mutant)
		for n, c := range p.drawn {
			if c.source == i {
				chosen[n] = c.Mutant
			}
		}
		write(s.Path, filepath.Base(s.Path), s.Switched(chosen))
	}
	first := p.sources[0]
	write(filepath.Join(filepath.Dir(first.Path), "mutant_switch.go"), "mutant_switch.go", mutants.Support(first.Name))
	overlay, wrong := json.Marshal(map[string]any{"Replace": replace})
	name := filepath.Join(p.dir, "overlay.json")
	if err := errors.Join(err, wrong, os.WriteFile(name, overlay, 0o600)); err != nil {
		return nil, fmt.Errorf("mutants: %w", err)
	}
	build := exec.CommandContext(context.Background(), "go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-gcflags=-e", "-overlay", name, "-o", p.program(), "./"+p.folder) //nolint:gosec // the caller's own tests
	return build.CombinedOutput()
}

func (p *pack) program() string { return filepath.Join(p.dir, "package.test") }

var complaint = regexp.MustCompile(`([^/\s]+\.go):(\d+):`)

// complained reports whether the compiler names a line of a mutant.
func complained(report []byte, c candidate) bool {
	for _, m := range complaint.FindAllSubmatch(report, -1) {
		line, err := strconv.Atoi(string(m[2]))
		if err == nil && string(m[1]) == c.File && c.Line <= line && line <= c.Last {
			return true
		}
	}
	return false
}

// trials tries the mutants, some at once, and tells the survivors.
func (p *pack) trials() (score int) {
	numbers := p.numbers()
	killed, survived, judged := 0, 0, 0
	var lock sync.Mutex
	p.each(len(numbers), func(i int) {
		c, noticed := p.drawn[numbers[i]], p.noticed(numbers[i])
		lock.Lock()
		defer lock.Unlock()
		switch {
		case noticed:
			killed++
		case p.judged[p.folder+"\t"+c.Key()]:
			judged++
		default:
			survived++
			fmt.Fprintf(p.out, "survived\t%s\t%s\t(line %d)\n", p.folder, c.Key(), c.Line)
		}
	})
	if len(numbers) == 0 {
		return 100
	}
	score = (killed + judged) * 100 / len(numbers)
	fmt.Fprintf(p.out, "%s: seed %d: %d mutants, %d killed, %d judged, %d survived: %d %%\n", p.folder, p.o.seed, len(numbers), killed, judged, survived, score)
	return score
}

// each runs a function for 0 to n-1, as many at once as there may be.
func (p *pack) each(n int, run func(i int)) {
	next := make(chan int)
	var workers sync.WaitGroup
	for range p.o.jobs {
		workers.Go(func() {
			for i := range next {
				run(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
}

// lines are the words of a report, one a line.
func lines(report []byte) (all []string) {
	for l := range bytes.Lines(report) {
		all = append(all, string(bytes.TrimSpace(l)))
	}
	return all
}
