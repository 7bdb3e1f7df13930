// Command mutants tells which single wrong changes to packages their tests do not notice.
//
//	mutants [-count N] [-seed S] [-judged FILE] [-run PATTERN] PACKAGE_FOLDER...
//
// It draws N mutants of each package, runs the package's own tests with each, and prints the survivors and the
// score. What no test reaches survives without a run. Survivors that stand in the judged file count as killed: each line of it is a package, a mutant's key and why
// no promise is broken by it. It ends with status 1 when a package is below the goal.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tapline/tapline/test/repo/mutants"
)

var (
	errUsage = errors.New("want folders of packages, such as pkg/quota")
	errGoal  = errors.New("below the goal")
)

func main() {
	count := flag.Int("count", 40, "mutants of each package")
	seed := flag.Uint64("seed", 1, "which are drawn")
	judged := flag.String("judged", "test/repo/mutants/judged.txt", "survivors that were judged")
	run := flag.String("run", "", "only these tests")
	goal := flag.Int("goal", 90, "score to reach, in percent")
	flag.Parse()
	if err := play(os.Stdout, options{*count, *seed, *judged, *run, *goal}, flag.Args()); err != nil {
		log.Fatal(err)
	}
}

type options struct {
	count  int
	seed   uint64
	judged string
	run    string
	goal   int
}

func play(out io.Writer, o options, folders []string) error {
	if len(folders) == 0 {
		return errUsage
	}
	known, err := readJudged(o.judged)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mutants-*")
	if err != nil {
		return fmt.Errorf("mutants: %w", err)
	}
	defer os.RemoveAll(dir)
	low := false
	for _, folder := range folders {
		p := &pack{folder: filepath.Clean(folder), dir: dir, o: o, out: out, judged: known}
		score, err := p.play()
		if err != nil {
			return fmt.Errorf("%s: %w", folder, err)
		}
		low = low || score < o.goal
	}
	if low {
		return fmt.Errorf("%w of %d %%", errGoal, o.goal)
	}
	return nil
}

// readJudged reads lines of "<package>\t<key>\t<reason>".
func readJudged(path string) (map[string]bool, error) {
	data, err := os.ReadFile(path) //nolint:gosec // the caller names it
	if err != nil {
		return nil, fmt.Errorf("mutants: %w", err)
	}
	known := make(map[string]bool)
	for scan := bufio.NewScanner(strings.NewReader(string(data))); scan.Scan(); {
		if parts := strings.Split(scan.Text(), "\t"); len(parts) == 3 {
			known[parts[0]+"\t"+parts[1]] = true
		}
	}
	return known, nil
}

// pack is one package under trial.
type pack struct {
	folder, dir string
	o           options
	out         io.Writer
	judged      map[string]bool
	patience    time.Duration
	reached     reached
}

type candidate struct {
	mutants.Mutant
	path   string
	source []byte
}

func (p *pack) play() (score int, err error) {
	report, ok := p.test(nil)
	if !ok {
		return 0, fmt.Errorf("its tests fail without a mutant:\n%s", report) //nolint:err113 // told once
	}
	p.patience = 4*took(report) + 20*time.Second
	if p.reached, err = readProfile(p.profile()); err != nil {
		return 0, err
	}
	all, err := p.candidates()
	if err != nil {
		return 0, err
	}
	draw := rand.New(rand.NewPCG(p.o.seed, sum(p.folder))) //nolint:gosec // to be repeated
	draw.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	killed, survived, judged := 0, 0, 0
	for _, c := range all {
		if killed+survived+judged == p.o.count {
			break
		}
		if !c.Valid(c.source) {
			continue
		}
		report, ok := "", true // what no test reaches survives
		if p.reached.mutant(c) {
			report, ok = p.test(&c)
		}
		switch {
		case !ok && strings.Contains(report, "[build failed]"):
			continue
		case !ok:
			killed++
		case p.judged[p.folder+"\t"+c.Key()]:
			judged++
		default:
			survived++
			fmt.Fprintf(p.out, "survived\t%s\t%s\t(line %d)\n", p.folder, c.Key(), c.Line)
		}
	}
	ran := killed + survived + judged
	if ran == 0 {
		return 100, nil
	}
	score = (killed + judged) * 100 / ran
	fmt.Fprintf(p.out, "%s: %d mutants, %d killed, %d judged, %d survived: %d %%\n", p.folder, ran, killed, judged, survived, score)
	return score, nil
}

func sum(text string) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, text)
	return h.Sum64()
}

func (p *pack) candidates() (all []candidate, err error) {
	files, err := filepath.Glob(filepath.Join(p.folder, "*.go"))
	if err != nil {
		return nil, fmt.Errorf("mutants: %w", err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		source, err := os.ReadFile(path) //nolint:gosec // of the caller's own package
		if err != nil {
			return nil, fmt.Errorf("mutants: %w", err)
		}
		made, err := mutants.Of(filepath.Base(path), source)
		if err != nil {
			return nil, err
		}
		absolute, err := filepath.Abs(path)
		if err != nil {
			return nil, fmt.Errorf("mutants: %w", err)
		}
		for _, m := range made {
			all = append(all, candidate{m, absolute, source})
		}
	}
	return all, nil
}

// test runs the package's tests with a mutant, or without one. A test that hangs has noticed it.
func (p *pack) test(c *candidate) (report string, passed bool) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	args := []string{"test", "-short", "-failfast", "-vet=off", "-count=1", "-ldflags=-s -w"}
	if c == nil {
		args = append(args, "-coverprofile", p.profile())
	}
	if p.o.run != "" {
		args = append(args, "-run", p.o.run)
	}
	if c != nil {
		overlay, err := p.overlay(c)
		if err != nil {
			return err.Error(), true
		}
		args = append(args, "-overlay", overlay, "-timeout", p.patience.String())
		stop := time.AfterFunc(2*p.patience+2*time.Minute, cancel) // a build that hangs
		defer stop.Stop()
	}
	out, err := exec.CommandContext(ctx, "go", append(args, "./"+p.folder)...).CombinedOutput() //nolint:gosec // the caller's own tests
	return string(out), err == nil
}

func (p *pack) profile() string { return filepath.Join(p.dir, "cover.out") }

func (p *pack) overlay(c *candidate) (string, error) {
	source, overlay := filepath.Join(p.dir, "mutant.go"), filepath.Join(p.dir, "overlay.json")
	data, err := json.Marshal(map[string]map[string]string{"Replace": {c.path: source}})
	if err == nil {
		err = errors.Join(os.WriteFile(source, c.Apply(c.source), 0o600), os.WriteFile(overlay, data, 0o600))
	}
	if err != nil {
		return "", fmt.Errorf("mutants: %w", err)
	}
	return overlay, nil
}
