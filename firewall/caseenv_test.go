package firewall_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/configfile"
)

// environment is one firewall between a client and an upstream, all on
// loopback.
type environment struct {
	url      string // host:port
	upstream *upstream
	records  *recorder // nil for the binary
	dir      string    // of the configuration
}

// driver serves the configuration in dir and returns its address; the error
// says why it is not served.
type driver func(t *testing.T, dir string, e *environment) (address string, err error)

func newEnvironment(t *testing.T, setup map[string]string, start driver) *environment {
	t.Helper()
	e := &environment{upstream: newUpstream(t)}
	dir := t.TempDir()
	e.dir = dir
	lay(t, dir, setup, e.upstream.listener.Addr().String())
	var err error
	if e.url, err = start(t, dir, e); err != nil {
		t.Fatal(err)
	}
	return e
}

// lay writes a configuration with the keys of sign.
func lay(t *testing.T, dir string, setup map[string]string, upstream string) {
	t.Helper()
	for name, text := range setup {
		if name == "graphward.yaml" {
			text = strings.ReplaceAll(text, "http://127.0.0.1:1/", "http://"+upstream+"/")
			// A busy machine must not change a verdict.
			text = strings.Replace(text, "policy: {", "policy: {timeout: 10s, ", 1)
			if !strings.Contains(text, "timeouts:") {
				text += "\ntimeouts: {header: 1m, body: 1m, drain: 1m}\n"
			}
			text += "\nlisten: 127.0.0.1:0\n"
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	public, err := testKey.JWK()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := json.Marshal(map[string]any{"keys": []any{public}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "jwks.json"), keys, 0o644); err != nil {
		t.Fatal(err)
	}
}

func readDir(dir string) (map[string]string, error) {
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, path))
		files[path] = string(text)
		return err
	})
	return files, err
}

// inProcess serves by the embedding API, where the race detector sees it.
func inProcess(t *testing.T, dir string, e *environment) (string, error) {
	t.Helper()
	file, err := configfile.Load(filepath.Join(dir, "graphward.yaml"))
	if err != nil {
		return "", err
	}
	e.records = &recorder{arrived: make(chan struct{}, 1)}
	log := audit.NewWriter(e.records, audit.Config{})
	f, err := firewall.New(context.Background(), file.Config, firewall.WithAuditSink(log))
	if err != nil {
		return "", errors.Join(err, log.Close())
	}
	server, err := f.Listen()
	if err != nil {
		return "", errors.Join(err, f.Close(), log.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-served, f.Close(), log.Close()); err != nil {
			t.Error(err)
		}
	})
	return server.Addr().String(), nil
}

// builtBinary builds cmd/graphward and serves by it.
func builtBinary(t *testing.T) driver {
	t.Helper()
	path := filepath.Join(t.TempDir(), "graphward")
	if out, err := exec.Command("go", "build", "-o", path, "../cmd/graphward").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return func(t *testing.T, dir string, _ *environment) (string, error) {
		t.Helper()
		cmd := exec.Command(path, "serve", "--config", filepath.Join(dir, "graphward.yaml"))
		log, err := cmd.StderrPipe()
		if err != nil {
			return "", err
		}
		if err := cmd.Start(); err != nil {
			return "", err
		}
		kill := time.AfterFunc(10*time.Minute, func() { _ = cmd.Process.Kill() })
		address := make(chan string, 1)
		said := make(chan string, 1)
		go listenLine(log, address, said)
		end := func() error {
			defer kill.Stop()
			_ = cmd.Process.Signal(syscall.SIGTERM)
			text := <-said
			if err := cmd.Wait(); err != nil {
				return fmt.Errorf("graphward ended with %w: %s", err, text)
			}
			return nil
		}
		if a, ok := <-address; ok {
			t.Cleanup(func() {
				if err := end(); err != nil {
					t.Error(err)
				}
			})
			return a, nil
		}
		return "", end()
	}
}

// listenLine finds the address in the operator's log and keeps reading it.
func listenLine(log io.Reader, address, said chan<- string) {
	var text strings.Builder
	found := false
	for s := bufio.NewScanner(log); s.Scan(); {
		var line struct{ Message, Listen string }
		if !found && json.Unmarshal(s.Bytes(), &line) == nil && line.Message == "serving" {
			address <- line.Listen
			found = true
		}
		if text.Len() < 64<<10 {
			text.WriteString(s.Text() + "\n")
		}
	}
	close(address)
	said <- text.String()
}

// recorder is an audit output in memory.
type recorder struct {
	mu      sync.Mutex
	text    bytes.Buffer
	arrived chan struct{}
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case r.arrived <- struct{}{}:
	default:
	}
	return r.text.Write(p)
}

func (r *recorder) lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Split(strings.TrimSuffix(r.text.String(), "\n"), "\n")[:bytes.Count(r.text.Bytes(), []byte("\n"))]
}

func (r *recorder) count() int {
	if r == nil {
		return 0
	}
	return len(r.lines())
}

// wait returns the records when there are n, or what there is after patience.
func (r *recorder) wait(n int) []string {
	end := time.After(patience)
	for {
		if lines := r.lines(); len(lines) >= n {
			return lines
		}
		select {
		case <-r.arrived:
		case <-end:
			return r.lines()
		}
	}
}

// upstream answers what the case says and remembers what it got. It is no
// net/http server, so that it can answer what none would.
type upstream struct {
	listener net.Listener

	mu     sync.Mutex
	answer []byte
	body   []byte // that endless repeats
	then   string
	calls  []upstreamCall
	asked  chan struct{} // has an element once there is a call

	// ending are connections on which the last answer has been given. While one is open the firewall may keep it, and send
	// the next case's request where nobody reads.
	ending sync.WaitGroup
}

type upstreamCall struct {
	method, target string
	encoding       []string
	header         http.Header
	body           string
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{listener: l}
	var running sync.WaitGroup
	var conns sync.Map
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Store(c, nil)
			running.Go(func() {
				u.serve(c)
				_ = c.Close()
				conns.Delete(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		conns.Range(func(c, _ any) bool { _ = c.(net.Conn).Close(); return true })
		running.Wait()
	})
	return u
}

// prepare sets what the case answers.
func (u *upstream) prepare(t *testing.T, c *testCase) {
	t.Helper()
	text := "200 OK\nContent-Type: application/json\n\n{\"data\":{\"ok\":true}}"
	if a, ok := c.files["answer"]; ok {
		text = strings.TrimSuffix(a, "\n")
	}
	head, body, _ := strings.Cut(text, "\n\n")
	head, err := c.expand(head)
	if err != nil {
		t.Fatal(err)
	}
	if body, err = c.expand(body); err != nil {
		t.Fatal(err)
	}
	u.ending.Wait()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.calls, u.asked, u.body, u.then = nil, make(chan struct{}, 1), []byte(body), strings.TrimSpace(c.files["answer.then"])
	head = "HTTP/1.1 " + strings.ReplaceAll(strings.TrimSpace(head), "\n", "\r\n")
	switch {
	case u.then == "endless":
		head += "\r\nTransfer-Encoding: chunked"
		end := body[max(0, len(body)-4096):]
		body = fmt.Sprintf("%x\r\n%s\r\n", len(body), body)
		u.body = fmt.Appendf(nil, "%x\r\n%s\r\n", len(end), end)
	case u.then == "body":
		head += fmt.Sprintf("\r\nContent-Length: %d", len(body)+100)
	case !strings.Contains(head, "Content-Length") && !strings.Contains(head, " 204 "):
		head += fmt.Sprintf("\r\nContent-Length: %d", len(body))
	}
	u.answer = []byte(head + "\r\n\r\n" + body)
	if raw, ok := c.files["answer.raw"]; ok {
		if raw, err = c.expand(raw); err != nil {
			t.Fatal(err)
		}
		steps, err := rawSteps(raw)
		if err != nil {
			t.Fatal(err)
		}
		u.answer, u.then = steps[0].send, "close"
	}
}

// taken returns the calls when there are n, or what there is after patience. A
// call whose answer nobody waits for may be read later than the client leaves.
func (u *upstream) taken(n int) []upstreamCall {
	for end := time.After(patience); ; {
		u.mu.Lock()
		calls, asked := u.calls, u.asked
		u.mu.Unlock()
		if len(calls) >= n {
			return calls
		}
		select {
		case <-asked:
		case <-end:
			return calls
		}
	}
}

func (u *upstream) serve(c net.Conn) {
	in := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		u.mu.Lock()
		u.calls = append(u.calls, upstreamCall{r.Method, r.RequestURI, r.TransferEncoding, headerOf(r), string(body)})
		select {
		case u.asked <- struct{}{}:
		default:
		}
		answer, repeated, then := u.answer, u.body, u.then
		if then == "close" {
			u.ending.Add(1)
			defer func() { _ = c.Close(); u.ending.Done() }()
		}
		u.mu.Unlock()
		if then != "head" {
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
		switch then {
		case "head", "body": // until the firewall gives up
			_, _ = io.Copy(io.Discard, in)
			return
		case "close":
			return
		case "endless":
			for range 1 << 16 {
				if _, err := c.Write(repeated); err != nil {
					return
				}
			}
			return
		}
	}
}

// headerOf puts back what http.ReadRequest takes out of the header.
func headerOf(r *http.Request) http.Header {
	h := r.Header.Clone()
	if r.ContentLength >= 0 {
		h.Set("Content-Length", fmt.Sprint(r.ContentLength))
	}
	h.Set("Host", r.Host)
	return h
}
