package budget

import (
	"bufio"
	"cmp"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/graphward/graphward/porttest"
)

// server is a redis-server of the test's own, on a free port of loopback.
type server struct {
	t      testing.TB
	binary string
	dir    string
	port   int
	args   []string
	ready  string // what the log says when it serves; "" = that of a data server
	cmd    *exec.Cmd
	lines  chan string // of its log; closed when the process has ended
}

// redisBinary is the server's program; "" when there is none, which the test's log then says. With GRAPHWARD_REQUIRE_TOOLS=1 it
// must be there.
func redisBinary(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	text := "no redis-server or valkey-server in PATH=" + os.Getenv("PATH")
	if os.Getenv("GRAPHWARD_REQUIRE_TOOLS") == "1" {
		t.Fatal(text)
	}
	t.Log(text + ": what needs a real server was not run, the rest used miniredis alone (apt-get install redis-server)")
	return ""
}

// startRedis starts a server that ends with the test.
func startRedis(t testing.TB, binary string, args ...string) *server {
	t.Helper()
	s := &server{t: t, binary: binary, dir: t.TempDir(), port: porttest.Free(t), args: append([]string{
		"--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"}, args...)}
	s.start()
	t.Cleanup(s.kill)
	return s
}

// startSentinel starts a sentinel that alone decides when a primary named "budgets" is replaced: not while it only is slow, but soon after
// mourn. An attempt that finds no replica fit, as on a busy machine, is repeated after twice the failover-timeout, which would be six
// minutes.
func startSentinel(t testing.TB, binary string, primary *server) *server {
	t.Helper()
	config := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor budgets 127.0.0.1 %d 1\nsentinel down-after-milliseconds budgets 600000\nsentinel failover-timeout budgets 1000\n", primary.port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, binary: binary, dir: t.TempDir(), port: porttest.Free(t), args: []string{config, "--sentinel"}, ready: "+monitor"}
	s.start()
	t.Cleanup(s.kill)
	return s
}

// mourn tells a sentinel that silence of the primary now means that it is dead.
func (s *server) mourn() {
	s.t.Helper()
	s.command("SENTINEL", "SET", "budgets", "down-after-milliseconds", "300")
}

func (s *server) addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

func (s *server) url() string { return "redis://" + s.addr() + "/0" }

// start returns when the server says that it accepts connections.
func (s *server) start() {
	s.t.Helper()
	args := append(slices.Clone(s.args), "--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir, "--daemonize", "no")
	s.cmd = exec.Command(s.binary, args...)
	s.cmd.SysProcAttr = dieWithParent()
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	lines := make(chan string, 4096)
	s.lines = lines
	cmd := s.cmd
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			select {
			case lines <- scan.Text():
			default: // nobody reads any more
			}
		}
		_ = cmd.Wait()
	}()
	s.await(cmp.Or(s.ready, "eady to accept connections"))
}

// await returns when the server's log has said text.
func (s *server) await(text string) {
	s.t.Helper()
	var log strings.Builder
	for line := range s.lines {
		if strings.Contains(line, text) {
			return
		}
		fmt.Fprintln(&log, line)
	}
	s.t.Fatalf("%s ended without %q:\n%s", s.binary, text, log.String())
}

// kill ends the server at once, losing its data; again is no error.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	for range s.lines {
		continue
	}
}

func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// startCluster starts a cluster of one node that holds all slots, which refuses keys of different slots in one script.
func startCluster(t testing.TB, binary string) *server {
	t.Helper()
	s := startRedis(t, binary, "--cluster-enabled", "yes", "--cluster-require-full-coverage", "no")
	s.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	s.await("Cluster state changed: ok")
	return s
}

// command sends one command outside the ledger and returns the first line of the answer.
func (s *server) command(args ...string) string {
	s.t.Helper()
	return s.commands(args)
}

// replicate returns when a replica has all that the server was told before. WAIT is about the writes of its own connection, so that
// connection writes.
func (s *server) replicate() {
	s.t.Helper()
	if n := s.commands([]string{"SET", "replicate", ""}, []string{"WAIT", "1", strconv.FormatInt(patience.Milliseconds(), 10)}); n != ":1" {
		s.t.Fatalf("not replicated: %s", n)
	}
}

// commands sends commands over one connection and returns the first line of the last answer; the others must be of one line.
func (s *server) commands(commands ...[]string) string {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.addr())
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	var line string
	for _, args := range commands {
		fmt.Fprintf(conn, "*%d\r\n", len(args))
		for _, arg := range args {
			fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(arg), arg)
		}
		line, err = answers.ReadString('\n')
		if err != nil || strings.HasPrefix(line, "-") {
			s.t.Fatalf("%v: %s, %v", args, line, err)
		}
	}
	return strings.TrimSpace(line)
}
