package firewall_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/identity"
)

// behind starts a backend and a firewall in front of it.
func behind(t *testing.T, backend http.HandlerFunc, change func(*firewall.Config), opts ...firewall.Option) *guarded {
	t.Helper()
	up := httptest.NewServer(backend)
	t.Cleanup(up.Close)
	return guard(t, func(c *firewall.Config) {
		c.Upstream.URL = up.URL
		change(c)
	}, opts...)
}

func answerFine(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, fine)
}

// soon is a timeout that a test waits for. Where one is, no other time limit is
// short, so that a busy machine ends nothing else.
const soon = firewall.Duration(time.Second)

func connect(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// A client that stops in the middle is told so where there is a request to
// answer, and its connection ends.
func TestSlowClient(t *testing.T) {
	const head = "POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
	header := func(t *firewall.TimeoutsConfig) { t.Header = soon }
	body := func(t *firewall.TimeoutsConfig) { t.Body = soon }
	idle := func(t *firewall.TimeoutsConfig) { t.Idle = soon }
	for name, c := range map[string]struct {
		send, status string
		limit        func(*firewall.TimeoutsConfig)
	}{
		"nothing":               {"", "", header},
		"half a request line":   {"POST /gra", "400", header},
		"half a header section": {head + "X-A: ", "", header},
		"no body":               {head + "Content-Length: 50\r\n\r\n", "408", body},
		"half a body":           {head + "Content-Length: 50\r\n\r\n{\"query\":", "408", body},
		"half a chunk":          {head + "Transfer-Encoding: chunked\r\n\r\n50\r\n{\"query\":", "408", body},
		"half a body elsewhere": {strings.Replace(head, "/graphql", "/other", 1) + "Content-Length: 50\r\n\r\n{", "404", body},
		"idle after an answer":  {head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(streamQuery), streamQuery), "200", idle},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := behind(t, answerFine, func(f *firewall.Config) {
				c.limit(&f.Timeouts)
			})
			conn := connect(t, g.address)
			if _, err := io.WriteString(conn, c.send); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(conn) // until the firewall closes
			if err != nil && !strings.Contains(err.Error(), "reset") {
				t.Fatalf("%q, %v", got, err)
			}
			status := ""
			if s, ok := strings.CutPrefix(string(got), "HTTP/1.1 "); ok {
				status = s[:3]
			}
			if status != c.status || strings.Count(string(got), "HTTP/1.1 ") > 1 {
				t.Errorf("%.300q, want status %q", got, c.status)
			}
		})
	}
}

// large streams an answer that no socket buffer holds.
func large(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"data":"`)
	part := strings.Repeat("x", 64<<10)
	for range 40 << 20 / len(part) {
		if _, err := io.WriteString(w, part); err != nil {
			return
		}
	}
	_, _ = io.WriteString(w, `"}`)
}

func roomy(c *firewall.Config) { c.Upstream.MaxResponse = 64 << 20 }

// A client that reads nothing, or leaves, frees what it held: its slot, its
// charge, the upstream connection (goleak).
func TestClientStopsReading(t *testing.T) {
	const post = "POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
	for name, leave := range map[string]bool{"reads nothing": false, "leaves": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := behind(t, large, func(c *firewall.Config) {
				roomy(c)
				if !leave {
					c.Timeouts.Write = soon
				}
			})
			conn := connect(t, g.address)
			fmt.Fprintf(conn, post, len(streamQuery), streamQuery)
			if leave {
				if _, err := io.ReadFull(conn, make([]byte, 1000)); err != nil {
					t.Fatal(err)
				}
				conn.Close()
			}
			g.aborted(t)
		})
	}
}

// aborted waits for the one record and wants it to say that the client did not
// take its answer; the upstream did its work, so the charge stands.
func (g *guarded) aborted(t *testing.T) {
	t.Helper()
	lines := g.records.wait(1)
	var record struct {
		Verdict, Code string
		Aborted       bool
	}
	if len(lines) != 1 || json.Unmarshal([]byte(lines[0]), &record) != nil || !record.Aborted || record.Verdict != audit.Failed || record.Code != "" {
		t.Fatalf("records: %q", lines)
	}
	if _, refunds, stands := g.ledger.state(); refunds != 0 || stands != 1 {
		t.Errorf("%d charges refunded and %d standing, want 0 and 1", refunds, stands)
	}
}

// On HTTP/2 a client can hold one stream's window shut on a connection that
// flows.
func TestClientHoldsStreamWindow(t *testing.T) {
	ca := newCA(t, "test", "")
	cert, key := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	writeCertificate(t, issue(t, ca, local), cert, key)
	g := behind(t, large, func(c *firewall.Config) {
		roomy(c)
		c.TLS.Mode, c.TLS.CertFile, c.TLS.KeyFile = "on", cert, key
		c.Timeouts.Write = 2 * soon // for the handshake and the beginning of the answer too
	})
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequest(http.MethodPost, "https://"+g.address+"/graphql", strings.NewReader(streamQuery))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.ProtoMajor != 2 {
		t.Fatalf("spoke %s", res.Proto)
	}
	lines := g.records.wait(1)
	if len(lines) != 1 || !strings.Contains(lines[0], `"aborted":true`) {
		t.Fatalf("records: %q", lines)
	}
}

// Pipelined requests are answered one by one, in order.
func TestPipelined(t *testing.T) {
	g := behind(t, answerFine, func(*firewall.Config) {})
	conn := connect(t, g.address)
	const n = 20
	var all strings.Builder
	for i := range n {
		body := streamQuery
		if i%2 == 1 {
			body = `{"query":"{ nothing }"}`
		}
		fmt.Fprintf(&all, "POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nAccept: application/graphql-response+json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	if _, err := io.WriteString(conn, all.String()); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	for i := range n {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != []int{200, 400}[i%2] {
			t.Errorf("answer %d: status %d, %v", i, res.StatusCode, err)
		}
	}
}

// Beyond limits.connections a connection takes the place of one that is idle.
func TestMaxConnections(t *testing.T) {
	var calls atomic.Int64
	g := behind(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		answerFine(w, r)
	}, func(c *firewall.Config) { c.Limits.Connections = 2 })
	held := []net.Conn{connect(t, g.address), connect(t, g.address)}
	request := fmt.Sprintf("POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(streamQuery), streamQuery)
	status := func(c net.Conn) int {
		t.Helper()
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode
	}
	for _, c := range held {
		if _, err := io.WriteString(c, request); err != nil || status(c) != http.StatusOK {
			t.Fatalf("a held connection is not served: %v", err)
		}
	}
	third := connect(t, g.address)
	if _, err := io.WriteString(third, request); err != nil {
		t.Fatal(err)
	}
	if s := status(third); s != http.StatusOK {
		t.Errorf("status %d", s)
	}
	left := 0
	for _, c := range held {
		_, _ = io.WriteString(c, request)
		if res, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			left++
		}
	}
	if n := calls.Load(); left != 1 || n != 4 {
		t.Errorf("%d of 2 idle connections are left, want 1; %d requests reached the backend, want 4", left, n)
	}
}

// Connections whose requests are being served, or whose first request has not
// come yet, make room for nobody.
func TestBusyConnectionsStay(t *testing.T) {
	busy := newStuck()
	g := behind(t, busy.ServeHTTP, func(c *firewall.Config) { c.Limits.Connections = 2 })
	request := fmt.Sprintf("POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(streamQuery), streamQuery)
	held := []net.Conn{connect(t, g.address), connect(t, g.address)}
	for _, c := range held {
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		<-busy.entered
	}
	third := connect(t, g.address)
	if _, err := io.WriteString(third, request); err != nil {
		t.Fatal(err)
	}
	if n := busy.inside.Load(); n != 2 {
		t.Errorf("%d requests at once on 2 connections", n)
	}
	close(busy.leave)
	for i, c := range append(held, third) {
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("connection %d: %v, %v", i, res, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
	}
}

// stuck is a backend that answers when it is let go.
type stuck struct {
	inside  atomic.Int64
	entered chan struct{}
	leave   chan struct{}
}

func newStuck() *stuck { return &stuck{entered: make(chan struct{}, 1000), leave: make(chan struct{})} }

func (s *stuck) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	s.inside.Add(1)
	s.entered <- struct{}{}
	<-s.leave
	answerFine(w, r)
}

// What is beyond limits.in_flight is refused while what was admitted goes on;
// nothing of it reaches the backend, and nothing waits.
func TestOverload(t *testing.T) {
	const room, flood = 8, 200
	back := newStuck()
	g := behind(t, back.ServeHTTP, func(c *firewall.Config) { c.Limits.InFlight = room })
	statuses := make(chan int, room)
	for range room {
		go func() {
			res, _, err := askOnce(g.address)
			if err != nil {
				t.Error(err)
				statuses <- 0
				return
			}
			statuses <- res.StatusCode
		}()
	}
	for range room {
		<-back.entered
	}
	var group sync.WaitGroup
	for range flood {
		group.Go(func() {
			res, body, err := askOnce(g.address)
			if err != nil || res.StatusCode != http.StatusServiceUnavailable || codeOf(body) != "OVERLOADED" || res.Header.Get("Retry-After") == "" {
				t.Errorf("%v, %s, %v", res, body, err)
			}
		})
	}
	group.Wait() // all of it, while the admitted still wait
	if n := back.inside.Load(); n != room {
		t.Errorf("%d requests reached the backend, want %d", n, room)
	}
	close(back.leave)
	for range room {
		if s := <-statuses; s != http.StatusOK {
			t.Errorf("an admitted request got %d", s)
		}
	}
	if res, _, err := askOnce(g.address); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("after the flood: %v, %v", res, err)
	}
}

// With limits.queue as many wait as it says, and are served when there is room;
// the others are refused meanwhile.
func TestOverloadQueue(t *testing.T) {
	const room, queue, flood = 2, 3, 50
	back := newStuck()
	g := behind(t, back.ServeHTTP, func(c *firewall.Config) {
		c.Limits.InFlight, c.Limits.Queue = room, queue
		c.Timeouts.Queue, c.Timeouts.Body = firewall.Duration(patience), firewall.Duration(2*patience)
	})
	statuses := make(chan int, room+queue+flood)
	for range room + queue + flood {
		go func() {
			res, body, err := askOnce(g.address)
			switch {
			case err != nil:
				t.Error(err)
				statuses <- 0
			case (res.StatusCode == http.StatusServiceUnavailable) != (codeOf(body) == "OVERLOADED"):
				t.Errorf("%d: %s", res.StatusCode, body)
				statuses <- 0
			default:
				statuses <- res.StatusCode
			}
		}()
	}
	for range flood {
		if s := <-statuses; s != http.StatusServiceUnavailable {
			t.Errorf("%d, while nothing is answered", s)
		}
	}
	for range room {
		<-back.entered
	}
	if n := back.inside.Load(); n != room {
		t.Errorf("%d requests reached the backend, want %d", n, room)
	}
	close(back.leave)
	for range room + queue {
		if s := <-statuses; s != http.StatusOK {
			t.Errorf("an admitted request got %d", s)
		}
	}
	if n := back.inside.Load(); n != room+queue {
		t.Errorf("%d requests reached the backend, want %d", n, room+queue)
	}
}

// knownByHeader knows everybody who sends an Authorization header.
type knownByHeader struct{}

func (knownByHeader) Authenticate(r *http.Request) (*identity.Identity, error) {
	if r.Header.Get("Authorization") == "" {
		return &identity.Identity{Method: "anonymous"}, nil
	}
	return &identity.Identity{Authenticated: true, Subject: "a", Issuer: "b", Method: "jwt"}, nil
}

// The last eighth of limits.in_flight is for callers who are identified.
func TestOverloadKeepsRoomForTheKnown(t *testing.T) {
	back := newStuck()
	g := behind(t, back.ServeHTTP, func(c *firewall.Config) { c.Limits.InFlight = 8 }, firewall.WithAuthenticator(knownByHeader{}))
	var group sync.WaitGroup
	defer group.Wait()
	defer close(back.leave)
	for range 7 {
		group.Go(func() {
			if res, _, err := askOnce(g.address); err != nil || res.StatusCode != http.StatusOK {
				t.Errorf("%v, %v", res, err)
			}
		})
	}
	for range 7 {
		<-back.entered
	}
	if res, body, err := askOnce(g.address); err != nil || codeOf(body) != "OVERLOADED" {
		t.Errorf("an unknown caller took the room of the known: %v, %v", res, err)
	}
	group.Go(func() {
		r, _ := http.NewRequest(http.MethodPost, "http://"+g.address+"/graphql", strings.NewReader(streamQuery))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer x")
		transport := &http.Transport{DisableKeepAlives: true}
		res, err := transport.RoundTrip(r)
		if err != nil {
			t.Error(err)
			return
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("a known caller got %d", res.StatusCode)
		}
	})
	<-back.entered
}

// No request holds more than a small multiple of limits.body while the backend
// works, client and backend of this process included.
func TestMemoryPerRequest(t *testing.T) {
	const n = 100
	back := newStuck()
	g := behind(t, back.ServeHTTP, func(*firewall.Config) {})
	body := fmt.Sprintf(`{"query":"query($id: String!) { artist(id: $id) { name } }","variables":{"id":"%s"}}`, strings.Repeat("x", 250<<10))
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var group sync.WaitGroup
	for range n {
		group.Go(func() {
			transport := &http.Transport{DisableKeepAlives: true}
			r, _ := http.NewRequest(http.MethodPost, "http://"+g.address+"/graphql", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			res, err := transport.RoundTrip(r)
			if err != nil {
				t.Error(err)
				back.entered <- struct{}{}
				return
			}
			defer res.Body.Close()
			if text, err := io.ReadAll(res.Body); err != nil || codeOf(text) != "" {
				t.Errorf("%s, %v", text, err)
				back.entered <- struct{}{}
			}
		})
	}
	for range n {
		<-back.entered
	}
	runtime.GC()
	runtime.ReadMemStats(&during)
	close(back.leave)
	group.Wait()
	each := (int64(during.HeapAlloc) - int64(before.HeapAlloc)) / n
	t.Logf("%d KiB for each request with a body of %d KiB", each>>10, len(body)>>10)
	if each > 6*int64(len(body)) {
		t.Errorf("each request holds %d KiB, its body has %d KiB", each>>10, len(body)>>10)
	}
}

// Preflights that pass (cors: upstream) are among limits.in_flight: a flood of
// them reaches no further than one of requests.
func TestPassedPreflightsAreAdmitted(t *testing.T) {
	back := newStuck()
	g := behind(t, back.ServeHTTP, func(c *firewall.Config) { c.Limits.InFlight, c.CORS.Upstream = 1, true })
	transport := &http.Transport{DisableKeepAlives: true}
	preflight := func() (int, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, "http://"+g.address+"/graphql", http.NoBody)
		if err != nil {
			return 0, err
		}
		r.Header.Set("Origin", "https://app.example")
		r.Header.Set("Access-Control-Request-Method", "POST")
		res, err := transport.RoundTrip(r)
		if err != nil {
			return 0, err
		}
		return res.StatusCode, res.Body.Close()
	}
	first := make(chan int, 1)
	go func() {
		status, err := preflight()
		if err != nil {
			t.Error(err)
		}
		first <- status
	}()
	<-back.entered
	if status, err := preflight(); err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("the second preflight got %d, %v", status, err)
	}
	close(back.leave)
	if status := <-first; status != http.StatusOK || back.inside.Load() != 1 {
		t.Errorf("the first got %d; the backend saw %d", status, back.inside.Load())
	}
}
