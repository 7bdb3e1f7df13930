package torture

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPlansAreMadeOfTheirSeedAlone(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		p := NewPlan(seed, time.Minute)
		profile := ProfileOf(seed)
		if (len(p.Actions) < 20) != (profile.Calm || profile.Taken != "") || !reflect.DeepEqual(p, NewPlan(seed, time.Minute)) {
			t.Errorf("seed %d: %d actions, or others the second time", seed, len(p.Actions))
		}
		var text bytes.Buffer
		if err := p.Write(&text); err != nil {
			t.Fatal(err)
		}
		if read, err := ReadPlan(&text); err != nil || !reflect.DeepEqual(p, read) {
			t.Errorf("seed %d was read as %+v, %v", seed, read, err)
		}
		until := make(map[string]time.Duration)
		for _, a := range p.Actions {
			if a.At < until[a.Target] {
				t.Errorf("seed %d: %s meets an action that goes on until %s", seed, a, until[a.Target])
			}
			until[a.Target] = a.At + a.For
		}
	}
}

func TestRegressionCasesAreReadable(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.plan")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ReadPlan(file); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestStepsAreFound: every stage has steps of its own, and each step one name.
func TestStepsAreFound(t *testing.T) {
	t.Parallel()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	steps, err := Steps(root)
	if err != nil {
		t.Fatal(err)
	}
	own := make(map[string]int)
	for _, s := range steps {
		if len(s.Name) > len(s.Program) && s.Name[:len(s.Program)+1] == s.Program+"." {
			own[s.Program]++
		}
	}
	for _, stage := range []string{"scheduler", "fetcher", "enricher", "shipper"} {
		if own[stage] < 3 {
			t.Errorf("%s has %d steps of its own", stage, own[stage])
		}
	}
}

// TestAFewCrashesReachEveryProgram: CI makes few, others for each commit.
func TestAFewCrashesReachEveryProgram(t *testing.T) {
	t.Parallel()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	found, err := Steps(root)
	if err != nil {
		t.Fatal(err)
	}
	// What tapctl-backup and its like pass, the matrix does not.
	found = slices.DeleteFunc(found, func(s Step) bool { return strings.HasPrefix(s.Program, "tapctl-") })
	const few = 15 // RUNS of make acceptance
	steps := Alternate(slices.Clone(found))
	for first := range steps {
		programs := make(map[string]bool)
		for n := range few {
			programs[steps[(first+n)%len(steps)].Program] = true
		}
		if len(programs) != 5 {
			t.Errorf("%d crashes from %d on reach only %v", few, first, programs)
		}
	}
	slices.SortFunc(steps, func(a, b Step) int { return strings.Compare(a.String(), b.String()) })
	slices.SortFunc(found, func(a, b Step) int { return strings.Compare(a.String(), b.String()) })
	if !slices.Equal(steps, found) {
		t.Errorf("%v has other steps than %v", steps, found)
	}
}

// TestACrashIsPlayedAgain: what a report prints is the same crash.
func TestACrashIsPlayedAgain(t *testing.T) {
	t.Parallel()
	step, after := Step{"seen.written", "fetcher"}, Step{"fetcher.completed", "fetcher"}
	reached := map[Work]map[Step]bool{AllWork: {step: true}, SIEMWork: {step: true}, ListWork: {step: true}}
	for n := range 100 {
		c := CrashOf(n, []Step{step, after}, []Step{step, after}, reached)
		if got, err := ParseCrash(c.Arg()); err != nil || got != c {
			t.Errorf("%s is read as %+v, want %+v: %v", c.Arg(), got, c, err)
		}
	}
	for _, bad := range []string{"", "seed=x", "step=seen.written", "work=none", "seed=1,work=all,step=fetcher/seen.written"} {
		if c, err := ParseCrash(bad); err == nil {
			t.Errorf("%q is read as %+v", bad, c)
		}
	}
}

func TestProxy(t *testing.T) {
	t.Parallel()
	far, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	p, err := newProxy(t.Context(), far.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	dial := func() (near, behind net.Conn) {
		var d net.Dialer
		if near, err = d.DialContext(t.Context(), "tcp", p.addr()); err != nil {
			t.Fatal(err)
		}
		if behind, err = far.Accept(); err != nil {
			t.Fatal(err)
		}
		return near, behind
	}
	near, behind := dial()
	defer near.Close()
	defer behind.Close()
	p.freeze(true)
	if _, err := near.Write([]byte("frozen")); err != nil {
		t.Fatal(err)
	}
	if err := behind.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := behind.Read(make([]byte, 10)); err == nil {
		t.Errorf("%d bytes came through a frozen proxy", n)
	}
	if err := behind.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	p.freeze(false)
	tcp, ok := near.(*net.TCPConn)
	if !ok {
		t.Fatalf("%T", near)
	}
	if err := tcp.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(behind); err != nil || string(text) != "frozen" {
		t.Errorf("%q came, %v", text, err)
	}
	other, end := dial()
	defer other.Close()
	defer end.Close()
	p.cut()
	if _, err := other.Read(make([]byte, 1)); err == nil || err == io.EOF { //nolint:errorlint // Read gives it bare
		t.Errorf("a cut connection ended with %v", err)
	}
}

// TestKillsMeetEveryKindOfJob: a step that jobs of each kind pass is drawn for each, and most for
// windows.
func TestKillsMeetEveryKindOfJob(t *testing.T) {
	t.Parallel()
	common, ids := Step{"seen.written", "fetcher"}, Step{"fetcher.remembered", "fetcher"}
	reached := map[Work]map[Step]bool{AllWork: {common: true, ids: true}, SIEMWork: {common: true}, ListWork: {common: true}}
	drawn := make(map[Step]map[Work]int)
	for n := range 300 {
		c := CrashOf(n, []Step{common, ids}, []Step{common, ids}, reached)
		if drawn[c.Step] == nil {
			drawn[c.Step] = make(map[Work]int)
		}
		drawn[c.Step][c.Work]++
	}
	if d := drawn[common]; d[SIEMWork] < 75 || d[AllWork] == 0 || d[ListWork] == 0 {
		t.Errorf("%s is drawn %v", common, d)
	}
	if d := drawn[ids]; d[AllWork] != 150 {
		t.Errorf("%s is drawn %v", ids, d)
	}
}
