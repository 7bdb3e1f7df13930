package bustest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapline/tapline/pkg/bus"
)

// nodeArgument is the first argument of a test's program that is to be a server; the second
// describes it.
const nodeArgument = "tapline-test-node"

// Main belongs at the beginning of TestMain of a package that uses [StartKillable]. It reports
// whether this process was started to be a server; then it has been one, and TestMain should
// return.
func Main() bool {
	if len(os.Args) != 3 || os.Args[1] != nodeArgument {
		return false
	}
	var n node
	err := json.Unmarshal([]byte(os.Args[2]), &n)
	if err == nil {
		_, err = n.start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return true
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // ends with the test, also with one that is killed
	return true
}

// Killable is a cluster of three processes. A server that is shut down takes leave of its clients;
// these need not.
type Killable struct {
	// Bus is connected to the first server.
	Bus       *bus.Bus
	processes []*exec.Cmd
	nc        *nats.Conn
}

// StartKillable starts three servers that keep every stream three times. They end with the test.
func StartKillable(tb testing.TB) *Killable {
	tb.Helper()
	k := &Killable{}
	free := ports(tb, 2*nodes)
	for i := range nodes {
		k.processes = append(k.processes, process(tb, node{Index: i, Dir: Dir(tb), Port: free[nodes+i], Routes: free[:nodes]}))
	}
	address := "nats://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(free[nodes]))
	var err error
	if k.Bus, err = bus.Connect(tb.Context(), bus.Config{URL: address}, "test", discard); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(k.Bus.Close)
	if k.nc, err = nats.Connect(address); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(k.nc.Close)
	setUp(tb, k.Bus)
	return k
}

func process(tb testing.TB, n node) *exec.Cmd {
	tb.Helper()
	described, err := json.Marshal(n)
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], nodeArgument, string(described)) //nolint:gosec,noctx // the test itself; ended below
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// Kill ends a server as kill -9 does.
func (k *Killable) Kill(tb testing.TB, i int) {
	tb.Helper()
	if err := k.processes[i].Process.Kill(); err != nil {
		tb.Error(err)
	}
	_, _ = k.processes[i].Process.Wait()
}

// Lead makes a server the one that serves a consumer.
func (k *Killable) Lead(tb testing.TB, c bus.Consumer, i int) {
	tb.Helper()
	want, consumer := node{Index: i}.name(), c.Stream+"."+c.Name
	var info struct {
		Cluster struct{ Leader string }
	}
	for deadline := time.Now().Add(time.Minute); ; {
		answer, err := k.nc.Request("$JS.API.CONSUMER.INFO."+consumer, nil, time.Second)
		if err == nil {
			err = json.Unmarshal(answer.Data, &info)
		}
		if err == nil && info.Cluster.Leader == want {
			return
		}
		if time.Now().After(deadline) { // between two leaders no server answers
			tb.Fatalf("%s is served by %q, not by %s: %v", consumer, info.Cluster.Leader, want, err)
		}
		_, _ = k.nc.Request("$JS.API.CONSUMER.LEADER.STEPDOWN."+consumer, []byte(`{"placement":{"preferred":"`+want+`"}}`), time.Second)
	}
}

// Strand kills the only server that knows of a consumer; its stream lives on.
func (k *Killable) Strand(tb testing.TB, c bus.Consumer, i int) {
	tb.Helper()
	k.Lead(tb, c, i)
	js, err := jetstream.New(k.nc)
	if err != nil {
		tb.Fatal(err)
	}
	consumer, err := js.Consumer(tb.Context(), c.Stream, c.Name)
	if err != nil {
		tb.Fatal(err)
	}
	cfg := consumer.CachedInfo().Config
	cfg.Replicas = 1
	if _, err := js.UpdateConsumer(tb.Context(), c.Stream, cfg); err != nil {
		tb.Fatal(err)
	}
	for info := consumer.CachedInfo(); len(info.Cluster.Replicas) > 0; {
		if next, err := consumer.Info(tb.Context()); err == nil { // between two leaders no server answers
			info = next
		}
	}
	if leader := consumer.CachedInfo().Cluster.Leader; leader != (node{Index: i}).name() {
		tb.Fatalf("%s is left with %s", c.Name, leader)
	}
	k.Kill(tb, i)
}
