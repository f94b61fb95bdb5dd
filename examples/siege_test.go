//go:build siege

package examples_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/graphward/graphward/examples/backend/shop"
	"github.com/graphward/graphward/examples/quickstart"
)

// A siege is the binary in front of the example backend, each a process of its
// own on loopback, under traffic whose answers are known. `task soak` and
// `task chaos` are the ways to hold one.
type siege struct {
	dir, bin     string
	tokens       map[string]string
	backend      *process
	firewall     *process
	data, admin  string // host:port
	profiles     string // host:port of net/http/pprof; "" for none
	backendReady func() error
}

// duration is DURATION of the environment, else its default.
func duration(t *testing.T, fallback time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv("DURATION")
	if text == "" {
		return fallback
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// process is a child that can be started again. It is only ever signalled by
// its own id.
type process struct {
	path string
	args []string
	env  []string // beside this process's own
	// line, when set, sees each line that the process writes to stderr.
	line func([]byte)

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = append(os.Environ(), p.env...)
	var lines io.ReadCloser
	if p.line != nil {
		var err error
		if lines, err = cmd.StderrPipe(); err != nil {
			return err
		}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() {
		defer close(done)
		if lines != nil {
			// Whatever its length, a line is read: a process whose pipe is
			// full would stand still.
			for r := bufio.NewReader(lines); ; {
				line, err := r.ReadBytes('\n')
				if len(line) > 0 {
					p.line(bytes.TrimSuffix(line, []byte("\n")))
				}
				if err != nil {
					break
				}
			}
		}
		_ = cmd.Wait()
	}()
	return nil
}

func (p *process) signal(s os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Signal(s)
}

// end sends the signal and waits; what does not end in 15 s is killed.
func (p *process) end(s os.Signal) error {
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.mu.Unlock()
	if cmd == nil {
		return nil
	}
	_ = cmd.Process.Signal(syscall.SIGCONT)
	_ = cmd.Process.Signal(s)
	select {
	case <-done:
		return nil
	case <-time.After(15 * time.Second):
		_ = cmd.Process.Kill()
		<-done
		return fmt.Errorf("%s did not end on %v", filepath.Base(p.path), s)
	}
}

func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// lay builds the binaries and starts backend and firewall. change edits the
// quickstart's configuration.
func lay(t *testing.T, change func(config string) string) *siege {
	t.Helper()
	s := &siege{dir: filepath.Join(t.TempDir(), "shop"), bin: t.TempDir(), tokens: map[string]string{}}
	out, err := exec.Command("go", "build", "-tags", "siege", "-o", s.bin+"/", "../cmd/graphward", "./backend/server").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	issuer, err := quickstart.Lay(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range quickstart.People {
		if s.tokens[p.Name], err = issuer.Token(p, time.Now(), 24*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	upstream := freeAddress(t)
	s.backend = &process{path: filepath.Join(s.bin, "server"), args: []string{"-listen", upstream}}
	s.backendReady = func() error { return reachable(upstream) }
	path := filepath.Join(s.dir, "graphward.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	config := besieged(t, string(text), upstream)
	if err := os.WriteFile(filepath.Join(s.dir, "operator"), []byte(operatorToken), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(change(config)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.backend.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.backend.end(os.Kill) })
	if err := eventually(10*time.Second, s.backendReady); err != nil {
		t.Fatal(err)
	}
	s.guard(t, path)
	return s
}

// besieged is the quickstart's configuration with addresses of this siege,
// budgets that nobody exhausts, and times that hold on a machine however busy:
// where a verdict is checked, no clock may have a say in it.
func besieged(t *testing.T, config, upstream string) string {
	t.Helper()
	for _, edit := range [][2]string{
		{"listen: 127.0.0.1:8080\n", "listen: 127.0.0.1:0\ntimeouts: {header: 2m, body: 2m, write: 2m, idle: 10m}\n"},
		{"127.0.0.1:9090}", "localhost:0, token_file: operator}"},
		{"http://127.0.0.1:4000", "http://" + upstream},
		{"timeout: 10s", "timeout: 90s"},
		{"timeout: 5s", "timeout: 60s"},
		{"default: {cost: 20000/1m, requests: 600/1m, in_flight: 20}", "default: {cost: 1000000000/1m, requests: 100000000/1m, in_flight: 500}"},
		{"staff: {cost: 100000/1m, requests: 1200/1m, in_flight: 50}", "staff: {cost: 1000000000/1m, requests: 100000000/1m, in_flight: 500}"},
		{"trial: {cost: 100/1m, requests: 120/1m, in_flight: 5}", "trial: {cost: 1000000000/1m, requests: 100000000/1m, in_flight: 500}"},
		{"Mutation.login: 5/1m", "Mutation.login: 100000000/1m"},
	} {
		config = swap(t, config, edit[0], edit[1])
	}
	return config
}

// swap replaces a piece of a configuration, which must stand there once.
func swap(t *testing.T, config, old, next string) string {
	t.Helper()
	if strings.Count(config, old) != 1 {
		t.Fatalf("the quickstart's configuration has %q not once:\n%s", old, config)
	}
	return strings.Replace(config, old, next, 1)
}

// guard starts the firewall and learns its addresses from its log.
func (s *siege) guard(t *testing.T, config string) {
	t.Helper()
	type serving struct{ Message, Listen, Admin string }
	found := make(chan serving, 1)
	var said bytes.Buffer // until it serves
	serves := false
	s.firewall = &process{path: filepath.Join(s.bin, "graphward"), args: []string{"serve", "--config", config}, line: func(line []byte) {
		if serves {
			return
		}
		var entry serving
		if json.Unmarshal(line, &entry) == nil && entry.Message == "serving" {
			serves = true
			found <- entry
			return
		}
		said.Write(append(line, '\n'))
	}}
	if os.Getenv("PROFILES") != "" {
		s.profiles = freeAddress(t)
		s.firewall.env = []string{"GRAPHWARD_PROFILES=" + s.profiles}
	}
	if err := s.firewall.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.firewall.end(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
	})
	select {
	case entry := <-found:
		s.data, s.admin = entry.Listen, entry.Admin
	case <-s.firewall.done:
		t.Fatalf("graphward does not serve: %s", &said)
	}
}

func reachable(address string) error {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err == nil {
		err = c.Close()
	}
	return err
}

// eventually asks until there is no error, at most for so long.
func eventually(limit time.Duration, ask func() error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); ; <-tick.C {
		err := ask()
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

// operatorToken opens the admin listener of a siege, which is on loopback and
// gone with it.
const operatorToken = "a-token-of-this-test-and-of-nothing-else"

// fromAdmin reads a page of the admin listener.
func (s *siege) fromAdmin(page string) (string, error) {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	r, err := http.NewRequest(http.MethodGet, "http://"+s.admin+page, nil)
	if err != nil {
		return "", err
	}
	r.Header.Set("Authorization", "Bearer "+operatorToken)
	res, err := c.Do(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return string(text), err
}

// profile keeps a heap profile under PROFILES; without that it does nothing.
func (s *siege) profile(name string) error {
	if s.profiles == "" {
		return nil
	}
	res, err := http.Get("http://" + s.profiles + "/debug/pprof/heap?gc=1")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(os.Getenv("PROFILES"), name), text, 0o600)
}

// metric is one sample of /metrics; name may have labels.
func (s *siege) metric(name string) (float64, error) {
	text, err := s.fromAdmin("/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("/metrics has no %s", name)
}

// shot is one request and what must come of it.
type shot struct {
	name   string
	as     string // one of quickstart.People; "" is nobody
	client string
	method string // "" is POST
	target string // "" is /graphql
	header map[string]string
	body   string
	status int
	code   string // "" is let through
	holds  string
	closes bool // the connection ends with the answer
}

// transient are the refusals that a failing upstream or store explains.
var transient = map[string]int{"UPSTREAM_ERROR": 502, "UPSTREAM_TIMEOUT": 504, "OVERLOADED": 503}

// verdict checks an answer. late is the status of a refusal of transient, else 0.
func (x *shot) verdict(status int, body []byte) (late int, wrong error) {
	var answer struct {
		Errors []struct {
			Message    string
			Extensions struct{ Code string }
		}
		Data json.RawMessage
	}
	describe := func(format string, args ...any) error {
		return fmt.Errorf("%s: %s: status %d, %.300s", x.name, fmt.Sprintf(format, args...), status, body)
	}
	if bytes.Contains(body, []byte(shop.Planted)) {
		return 0, describe("a planted secret came out")
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return 0, describe("not JSON: %v", err)
	}
	code := ""
	if len(answer.Errors) > 0 && answer.Data == nil {
		code = answer.Errors[0].Extensions.Code
	}
	if want, ok := transient[code]; ok && x.code != code {
		forwarded := code != "OVERLOADED"
		if status != want || forwarded && x.code != "" {
			return 0, describe("want %d %s", x.status, x.code)
		}
		return status, nil
	}
	right := code == x.code
	if x.code != "" && strings.HasPrefix(code, "CHAOS_") {
		right = strings.Contains(x.body, "internalNotes")
	}
	if status != x.status || !right || !bytes.Contains(body, []byte(x.holds)) {
		return 0, describe("want %d %q with %s", x.status, x.code, x.holds)
	}
	return 0, nil
}

// arsenal makes the n-th shot; one in five is hostile.
type arsenal struct {
	siege   *siege
	hostile []shot
	forged  string
}

func (s *siege) arsenal() *arsenal {
	a := &arsenal{siege: s, forged: s.tokens["customer"][:len(s.tokens["customer"])-8] + "AAAAAAAA"}
	for _, scene := range quickstart.Scenes {
		if scene.Code != "" && scene.Code != "BUDGET_EXCEEDED" {
			a.hostile = append(a.hostile, shot{name: scene.Title, as: scene.As, client: scene.Client, body: scene.Body, status: scene.Status, code: scene.Code})
		}
	}
	query := func(text string) string {
		b, _ := json.Marshal(map[string]string{"query": text})
		return string(b)
	}
	me := query("{ me { name } }")
	a.hostile = append(a.hostile,
		shot{name: "broken JSON", as: "customer", body: `{"query":`, status: 400, code: "BAD_REQUEST"},
		shot{name: "query twice", as: "customer", body: `{"query":"{ me { name } }","query":"{ me { name } }"}`, status: 400, code: "BAD_REQUEST"},
		shot{name: "syntax", as: "customer", body: query("{ me { name "), status: 400, code: "GRAPHQL_PARSE_FAILED"},
		shot{name: "unknown field", as: "customer", body: query("{ me { nam } }"), status: 400, code: "GRAPHQL_VALIDATION_FAILED"},
		shot{name: "aliases", as: "customer", body: query("{ me { " + numbered("a%d: name ", 200) + "} }"), status: 400, code: "ALIAS_LIMIT"},
		shot{name: "tokens", as: "customer", body: query("{ me { " + strings.Repeat("name ", 5000) + "} }"), status: 400, code: "TOKEN_LIMIT"},
		shot{name: "large body", as: "customer", body: query(strings.Repeat(" ", 300<<10) + "{ me { name } }"), status: 413, code: "BODY_LIMIT", closes: true},
		shot{name: "bad variable", as: "customer", body: `{"query":"query($n: Int) { products(first: $n) { totalCount } }","variables":{"n":"x"}}`, status: 400, code: "BAD_VARIABLES"},
		shot{name: "forged token", header: map[string]string{"Authorization": "Bearer " + a.forged}, body: me, status: 401, code: "UNAUTHENTICATED"},
		shot{name: "form", as: "customer", header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, body: "query=%7Bme%7D", status: 415, code: "UNSUPPORTED_MEDIA_TYPE"},
		shot{name: "method", as: "customer", method: http.MethodPut, body: me, status: 405, code: "METHOD_NOT_ALLOWED"},
		shot{name: "path", as: "customer", target: "/graphql/", body: me, status: 404, code: "NOT_FOUND"},
		shot{name: "mutation by GET", as: "customer", method: http.MethodGet, target: "/graphql?query=mutation%7BdeleteUser(id:%22user-3%22)%7D", status: 405, code: "METHOD_NOT_ALLOWED"},
		shot{name: "subscription", as: "customer", body: query("subscription { countdown }"), status: 400, code: "SUBSCRIPTION_NOT_SUPPORTED"},
		shot{name: "notes", as: "customer", body: query("{ internalNotes { text } }"), status: 403, code: "FORBIDDEN"},
		shot{name: "deletion", as: "customer", body: query(`mutation { deleteUser(id: "user-3") }`), status: 403, code: "FORBIDDEN"},
	)
	return a
}

func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func (a *arsenal) shot(n uint64) shot {
	k := n / 5
	if n%5 == 0 {
		if k%3 == 0 { // never the same document twice
			return shot{name: "new denied document", as: "customer", status: 403, code: "FORBIDDEN",
				body: fmt.Sprintf(`{"query":"{ n%d: node(id: \"user-3\") { ... on User { h%d: passwordHash } } }"}`, n, n)}
		}
		return a.hostile[k%uint64(len(a.hostile))]
	}
	switch k % 7 {
	case 0:
		return shot{name: "registered", client: "web", status: 200, holds: `"name":"Amber Lamp","price":19.90`,
			body: `{"documentId":"sha256:fd55caa7af431d35d428d987f067d3efee671a452d4bffdc8adb3147c2c2cf7f","variables":{"first":2}}`}
	case 1:
		id := fmt.Sprintf("product-%d", 1+n%24)
		return shot{name: "by variable", as: "customer", status: 200, holds: `"id":"` + id + `"`,
			body: `{"query":"query($id: ID!) { product(id: $id) { id name } }","variables":{"id":"` + id + `"}}`}
	case 2:
		return shot{name: "new document", as: "customer", status: 200, holds: fmt.Sprintf(`"r%d":{"name":"Cleo Marin"}`, n),
			body: fmt.Sprintf(`{"query":"{ r%d: me { name } }"}`, n)}
	case 3:
		return shot{name: "by GET", as: "customer", method: http.MethodGet, status: 200, holds: `"Cleo Marin"`, target: "/graphql?query=%7Bme%7Bname%7D%7D"}
	case 4:
		return shot{name: "mutation", as: "customer", status: 200, holds: fmt.Sprintf(`"m%d":`, n%100),
			body: fmt.Sprintf(`{"query":"mutation($in: ProfileInput!) { m%d: updateProfile(input: $in) { id } }","variables":{"in":{"bio":"n %d"}}}`, n%100, n)}
	case 5:
		return shot{name: "introspection", as: "admin", status: 200, holds: `"SearchResult"`,
			body: `{"query":"{ __schema { types { name fields { name type { name } } } } }"}`}
	}
	return shot{name: "upstream's error", as: "admin", status: 200, holds: `"errors"`, body: `{"query":"{ diagnostics }"}`}
}

// tally is what the traffic came to.
type tally struct {
	shots, late, wrong atomic.Uint64
	mu                 sync.Mutex
	examples           []string
}

func (t *tally) bad(err error) {
	t.wrong.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.examples) < 20 {
		t.examples = append(t.examples, err.Error())
	}
}

// attack keeps the firewall at saturation until ctx ends: each worker sends
// its next request as soon as it has the answer to the last. Every request
// must get exactly one answer; transient ones count as wrong unless allowed.
func (s *siege) attack(ctx context.Context, workers int, transientAllowed bool) *tally {
	var (
		out   tally
		next  atomic.Uint64
		group sync.WaitGroup
	)
	a := s.arsenal()
	for range workers {
		group.Go(func() {
			transport := &http.Transport{MaxConnsPerHost: 1, DisableCompression: true}
			defer transport.CloseIdleConnections()
			for ctx.Err() == nil {
				x := a.shot(next.Add(1) - 1)
				late, err := s.fire(transport, &x)
				out.shots.Add(1)
				switch {
				case err != nil:
					out.bad(err)
				case late != 0 && !transientAllowed:
					out.bad(fmt.Errorf("%s: %d though all is well", x.name, late))
				case late != 0:
					out.late.Add(1)
				}
			}
		})
	}
	group.Wait()
	return &out
}

func (s *siege) fire(rt http.RoundTripper, x *shot) (late int, err error) {
	target, method := x.target, x.method
	if target == "" {
		target = "/graphql"
	}
	if method == "" {
		method = http.MethodPost
	}
	// Without GetBody the transport cannot send a request twice by itself.
	var body io.Reader
	if x.body != "" {
		body = io.MultiReader(strings.NewReader(x.body))
	}
	// The deadline is far above what any stage allows: an answer is owed.
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+s.data+target, body)
	if err != nil {
		return 0, err
	}
	r.ContentLength = int64(len(x.body))
	r.Header.Set("Accept", "application/graphql-response+json")
	if x.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if x.as != "" {
		r.Header.Set("Authorization", "Bearer "+s.tokens[x.as])
	}
	if x.client != "" {
		r.Header.Set("Graphql-Client-Name", x.client)
	}
	for name, value := range x.header {
		r.Header.Set(name, value)
	}
	res, err := rt.RoundTrip(r)
	if err != nil {
		return 0, fmt.Errorf("%s: no answer: %w", x.name, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, fmt.Errorf("%s: cut answer: %w", x.name, err)
	}
	if res.Close != x.closes {
		return 0, fmt.Errorf("%s: status %d, the connection's end is %v", x.name, res.StatusCode, res.Close)
	}
	return x.verdict(res.StatusCode, text)
}

// residentSet is the process's RSS in bytes (Linux).
func residentSet(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(status), "VmRSS:")
	if !ok {
		return 0, errors.New("no VmRSS")
	}
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	return kb << 10, err
}
