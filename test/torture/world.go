package torture

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/freeport"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/tapsim"
)

// broker is the name of the NATS server's process.
const broker = "nats"

// indexLag is the longest usual time from a record's creation until it is visible.
const indexLag = 5 * time.Second

// manyReports is a limit of forensic calls that no world reaches.
const manyReports = 20_000

// inFlight bounds the bytes of rows that one shipper has sent and that are not confirmed.
const inFlight = 1 << 20

// longestRow is what the shippers still send.
const longestRow = 32 << 10

// world is everything around and in one pipeline.
type world struct {
	profile Profile
	seed    uint64
	dir     string
	log     func(format string, args ...any)

	sim   *tapsim.Sim
	gate  *gate // before the simulator: credentials
	sink  *devosink.Sink
	trust *trust
	clock clock
	rows  *rows
	query string // URL of the sink's query API, if it may lie

	proxies   map[string]*proxy // by link
	processes map[string]*process
	natsPort  int
	users     *users     // of the broker
	disk      *disk      // of the broker; nil if it has none of its own
	without   string     // why it has none
	power     sync.Mutex // held while the broker's disk is unmounted, full or exchanged
	servers   []*http.Server
	wg        sync.WaitGroup

	mu      sync.Mutex
	damaged bool      // a stream is
	unread  time.Time // until then the sink's kernel may have acknowledged what the sink has not read, which this proof confirms
	long    bool      // a record is too long for a row
	thief   *thief    // what came of a stage that was taken over
	notes   []string  // what went wrong besides what the oracle finds
}

// newWorld makes a world in an empty directory that has the programs in bin. Nothing of the
// pipeline runs yet.
func newWorld(ctx context.Context, dir string, seed uint64, p Profile, log func(string, ...any)) (*world, error) {
	w := &world{
		profile: p, seed: seed, dir: dir, log: log, rows: newRows(p.Lies || p.Taken != ""), proxies: make(map[string]*proxy), processes: make(map[string]*process),
	}
	if err := w.outside(ctx); err != nil {
		return nil, errors.Join(err, w.close())
	}
	if err := w.inside(); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// outside makes the simulators.
func (w *world) outside(ctx context.Context) error {
	var err error
	if w.sim, err = tapsim.New(w.service()); err != nil {
		return err
	}
	w.clock = clock{w.dir, time.Now(), w.sim.Now(), w.profile.Factor}
	if err := w.clock.set(readBackClock, 0); err != nil {
		return err
	}
	if w.trust, err = newTrust(filepath.Join(w.dir, "certs")); err != nil {
		return err
	}
	if err := w.openSink(ctx); err != nil {
		return err
	}
	w.gate = newGate(w.sim)
	tapAddr, err := w.serve(ctx, w.gate)
	if err != nil {
		return err
	}
	httpAddr, err := w.serve(ctx, w.sink.Ingest("demo", "demo"))
	if err != nil {
		return err
	}
	if w.natsPort, err = freeport.Find(); err != nil {
		return err
	}
	behindSink := w.sink.Addr()
	if w.profile.Sink == HTTP {
		behindSink = httpAddr
	}
	links := map[string]string{"tap": tapAddr, "sink": behindSink}
	for _, name := range append(stageProcesses(), append(extras(), setupProcess)...) {
		links["nats:"+name] = "127.0.0.1:" + strconv.Itoa(w.natsPort)
	}
	for link, target := range links {
		if w.proxies[link], err = newProxy(ctx, target); err != nil {
			return err
		}
	}
	return nil
}

// service configures the simulated Proofpoint.
func (w *world) service() tapsim.Config {
	c := tapsim.Default()
	c.Seed, c.Rate, c.Factor, c.Age, c.IndexLag = w.seed, w.profile.Rate, w.profile.Factor, w.profile.Age, indexLag
	c.LateFraction, c.LateLag, c.LimitSIEM, c.LimitPermitted = w.profile.Late, 20*time.Minute, w.profile.Limit, w.profile.Limit
	c.Threats, c.Evidence, c.MalformedFraction = 4, 4, w.profile.Malformed
	w.profile.Service.apply(&c)
	if w.profile.Reports {
		c.LimitForensicsThreat = manyReports
	}
	if w.profile.Malformed > 0 { // such records have ids, always
		c.NoIDFraction = 0
	}
	return c
}

// setupProcess is tapctl, which makes the streams.
const setupProcess = "tapctl-setup"

func extras() []string { return []string{"scheduler-2", "fetcher-2", "enricher-2", "shipper-2"} }

func (w *world) serve(ctx context.Context, h http.Handler) (addr string, err error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("serve: %w", err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	w.servers = append(w.servers, server)
	w.wg.Go(func() { _ = server.Serve(ln) })
	return ln.Addr().String(), nil
}

// inside starts the broker and prepares the processes of the stages.
func (w *world) inside() error {
	store, err := filepath.Abs(filepath.Join(w.dir, "store"))
	if err != nil {
		return fmt.Errorf("torture: %w", err)
	}
	if w.profile.Disk {
		if w.disk, err = newDisk(filepath.Join(w.dir, "disk"), store); err != nil {
			w.disk, w.without = nil, err.Error()
		}
	}
	if w.users, err = newUsers(filepath.Join(w.dir, "nats"), store, w.natsPort); err != nil {
		return err
	}
	n := &process{name: broker, program: "natsserver", dir: w.dir, environ: func() []string { return nil }}
	n.args = []string{filepath.Join(w.dir, "nats", "nats.conf")}
	w.processes[broker] = n
	if err := n.start(); err != nil {
		return err
	}
	for _, name := range append(stageProcesses(), append(extras(), setupProcess)...) {
		stage, _, _ := strings.Cut(name, "-")
		w.processes[name] = &process{name: name, program: stage, dir: w.dir, environ: func() []string { return w.environ(name) }}
		if err := w.clock.set(name, 0); err != nil {
			return err
		}
	}
	return nil
}

// environ configures a process.
func (w *world) environ(name string) []string {
	files := w.trust.files()
	env := []string{
		"TMPDIR=" + w.dir, "GOTRACEBACK=all", "LOG_FORMAT=text", "LOG_LEVEL=debug",
		"NATS_URL=nats://" + w.proxies["nats:"+name].addr(), "TAPLINE_CLOCK=" + w.clock.file(name), "TAPLINE_STEPS=" + filepath.Join(w.dir, "steps-"+name),
		"TAP_URL=http://" + w.proxies["tap"].addr(), "TAP_INSECURE_HTTP=true", "TAP_PRINCIPAL=" + w.gate.principal(), "TAP_SECRET=" + w.gate.current(),
		"TAP_TIMEOUT=3s", "TAP_IDLE_TIMEOUT=3s", "TAP_START_TIME=" + w.sim.Epoch().Format(time.RFC3339), "SCHEDULER_TICK=50ms",
		"QUOTA_SIEM=" + strconv.Itoa(w.profile.Limit), "QUOTA_SIEM_PERMITTED=" + strconv.Itoa(w.profile.Limit),
		"EXPAND_RATE=1000", "EXPAND_RETRY_DELAY=100ms", "EXPAND_ATTEMPTS=100", "TAP_FORENSICS=" + strconv.FormatBool(w.profile.Forensics),
		"TAP_SWEEPS=" + w.profile.Sweeps, "EVENT_MAX_BYTES=" + strconv.Itoa(longestRow), "BATCH_RECORDS=" + strconv.Itoa(w.profile.Batch), "FETCHER_SPOOL_MEMORY=65536",
		"SHIPPER_MAX_INFLIGHT_BYTES=" + strconv.Itoa(max(inFlight, w.profile.InFlight)), "SHIPPER_DRAIN_TIMEOUT=5s",
		"DEVO_CHAIN_FILE=" + files.Chain, "DEVO_CERT_FILE=" + files.ClientCert, "DEVO_KEY_FILE=" + files.ClientKey, "DEVO_STALL_TIMEOUT=4s",
	}
	env = append(env, w.lists()...)
	user, _, _ := strings.Cut(name, "-")
	if name == setupProcess {
		user = bus.UserAdmin
	}
	env = append(env, w.users.environ(user)...)
	switch w.profile.Sink {
	case Rotate:
		return append(env, "DEVO_ADDRESS="+w.proxies["sink"].addr(), "DEVO_CONFIRM=rotate", "DEVO_ROTATE_AFTER=300ms")
	case HTTP:
		return append(env, "SINK=devo-http", "DEVO_HTTP_URL=http://"+w.proxies["sink"].addr(), "DEVO_HTTP_INSECURE=true", "DEVO_HTTP_DOMAIN=demo",
			"DEVO_HTTP_TOKEN=demo", "DEVO_HTTP_TIMEOUT=4s")
	}
	// No proxy: the kernel that acknowledges has to be the sink's.
	env = append(env, "DEVO_ADDRESS="+w.sink.Addr(), "DEVO_CONFIRM=acked")
	if w.profile.InFlight > 0 {
		return env
	}
	return append(env, "DEVO_SETTLE=1500ms") // a sink that breaks down reads slowly here, and gets time to tell of it
}

// lists configures what is read besides SIEM records.
func (w *world) lists() []string {
	days := make([]string, len(w.profile.People))
	for i, n := range w.profile.People {
		days[i] = strconv.Itoa(n)
	}
	var names []string
	for _, f := range w.profile.Work.feeds() {
		names = append(names, string(f))
	}
	env := []string{"TAP_FEEDS=" + strings.Join(names, ","), "TAP_PEOPLE_WINDOWS=" + strings.Join(days, ","), "TAP_PEOPLE_INTERVAL=2h"}
	if w.profile.Reports {
		env = append(env, "QUOTA_FORENSICS_THREAT="+strconv.Itoa(manyReports))
	}
	return env
}

// start runs processes.
func (w *world) start(names []string) error {
	for _, name := range names {
		if err := w.processes[name].start(); err != nil {
			return err
		}
	}
	return nil
}

// wrong records what must not be and what the oracle does not look at.
func (w *world) wrong(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes = append(w.notes, fmt.Sprintf(format, args...))
}

// close ends everything.
func (w *world) close() error {
	var wg sync.WaitGroup
	for name, p := range w.processes {
		if name != broker {
			p.signal(syscall.SIGCONT)
			wg.Go(func() { p.end(syscall.SIGKILL) })
		}
	}
	wg.Wait()
	if n := w.processes[broker]; n != nil {
		n.signal(syscall.SIGCONT)
		n.end(syscall.SIGKILL)
	}
	for _, p := range w.processes {
		p.wg.Wait()
		freeport.Release(p.port)
	}
	freeport.Release(w.natsPort)
	var disk error
	if w.disk != nil {
		disk = w.disk.close()
	}
	for _, p := range w.proxies {
		p.close()
	}
	for _, s := range w.servers {
		_ = s.Close()
	}
	w.wg.Wait()
	if w.sink == nil {
		return disk
	}
	if err := w.sink.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return errors.Join(disk, err)
	}
	return disk
}
