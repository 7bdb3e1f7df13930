// Command mutants tells which single wrong changes to packages their tests do not notice.
//
//	mutants [-count N] [-seed S] [-jobs N] [-judged FILE] [-run PATTERN] PACKAGE_FOLDER...
//
// It draws N mutants of each package and builds its tests once, as a program that is any of them.
// Each short test runs alone first, which says which mutants it reaches and how long it takes. Then
// each mutant meets the tests that reach it, the quickest first. What no test reaches survives
// without a run. Survivors that are in the judged file count as killed: each line of it is a
// package, a mutant's key and why no promise is broken by it. It ends with status 1 when a package
// is below the goal.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
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
	jobs := flag.Int("jobs", 2, "tests that run at once")
	flag.Parse()
	if err := play(os.Stdout, options{*count, *seed, *judged, *run, *goal, *jobs}, flag.Args()); err != nil {
		log.Fatal(err)
	}
}

type options struct {
	count  int
	seed   uint64
	judged string
	run    string
	goal   int
	jobs   int
}

func play(out io.Writer, o options, folders []string) error {
	if len(folders) == 0 {
		return errUsage
	}
	known, err := readJudged(o.judged)
	if err != nil {
		return err
	}
	low := false
	for _, folder := range folders {
		p := &pack{folder: filepath.Clean(folder), o: o, out: out, judged: known}
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
