package firewall_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/graphward/graphward/cost/budget"
	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/audit"
)

// tracked is a ledger that remembers what became of each reservation.
type tracked struct {
	*budget.Memory
	mu      sync.Mutex
	open    int
	refunds int // reservations of cost that were settled at nothing
	stands  int // reservations of cost whose estimate stands
}

func (l *tracked) Spend(ctx context.Context, charges []budget.Charge) (budget.Receipt, error) {
	r, err := l.Memory.Spend(ctx, charges)
	if err == nil {
		l.mu.Lock()
		l.open++
		l.mu.Unlock()
	}
	return r, err
}

func (l *tracked) Settle(ctx context.Context, r budget.Receipt, actual []float64) error {
	if err := ctx.Err(); err != nil {
		return err // as a shared store would
	}
	l.mu.Lock()
	l.open--
	if strings.HasSuffix(r.Charges[0].Key, "}cost") {
		if actual == nil {
			l.stands++
		} else if actual[0] == 0 {
			l.refunds++
		}
	}
	l.mu.Unlock()
	return l.Memory.Settle(ctx, r, actual)
}

func (l *tracked) state() (open, refunds, stands int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open, l.refunds, l.stands
}

// guarded is a firewall on its own listener, with its ledger and its records.
type guarded struct {
	address string
	ledger  *tracked
	records *recorder
	f       *firewall.Firewall
}

func guard(t *testing.T, change func(*firewall.Config), opts ...firewall.Option) *guarded {
	t.Helper()
	c := corpusConfig("artsy")
	c.Listen = "127.0.0.1:0"
	c.Budgets.Tiers = map[string]firewall.TierConfig{"default": {
		Cost: budget.Window{Amount: 1e6, Per: time.Minute}, InFlight: 500,
	}}
	change(c)
	g := &guarded{ledger: &tracked{Memory: budget.NewMemory(budget.MemoryOptions{})}, records: &recorder{arrived: make(chan struct{}, 1)}}
	log := audit.NewWriter(g.records, audit.Config{})
	f, err := firewall.New(t.Context(), c, append(opts, firewall.WithAuditSink(log), firewall.WithLedger(g.ledger))...)
	if err != nil {
		t.Fatal(err)
	}
	server, err := f.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-served, f.Close(), log.Close()); err != nil {
			t.Error(err)
		}
		if open, _, _ := g.ledger.state(); open != 0 {
			t.Errorf("%d reservations were never settled", open)
		}
	})
	g.address, g.f = server.Addr().String(), f
	return g
}

// faulty is an upstream on a real socket that answers by writing bytes; nil
// answers nothing at all: each connection is closed at once.
func faulty(t *testing.T, answer func(c net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
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
				defer c.Close()
				if answer == nil {
					return
				}
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				if _, err := io.Copy(io.Discard, r.Body); err == nil {
					answer(c)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		conns.Range(func(c, _ any) bool { _ = c.(net.Conn).Close(); return true })
		running.Wait()
	})
	return l.Addr().String()
}

func say(text string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, text) }
}

// sayThenReset ends with RST: what is on its way may be lost, but little is on
// its way, since the text is taken in by parts.
func sayThenReset(text string) func(net.Conn) {
	return func(c net.Conn) {
		_ = c.(*net.TCPConn).SetWriteBuffer(8 << 10)
		_, _ = io.WriteString(c, text)
		_ = c.(*net.TCPConn).SetLinger(0)
	}
}

// sayThenHold keeps the connection until the firewall closes it.
func sayThenHold(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = io.WriteString(c, text)
		_, _ = io.Copy(io.Discard, c)
	}
}

// sayForever repeats text until the firewall closes the connection, resting
// before each time.
func sayForever(head, text string, rest time.Duration) func(net.Conn) {
	return func(c net.Conn) {
		_, err := io.WriteString(c, head)
		for err == nil {
			timer := time.NewTimer(rest)
			<-timer.C
			_, err = io.WriteString(c, text)
		}
	}
}

const (
	fine    = `{"data":{"viewer":null}}`
	ok      = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	chunked = ok + "Transfer-Encoding: chunked\r\n\r\n"
)

// long is more than the firewall reads before it writes.
var long = `{"data":{"viewer":"` + strings.Repeat("x", 200_000)

// upstreamFaults are what an upstream can do to us. Under guarding the answer
// is the code's; without guarding (responses pass, nothing is read ahead) what
// goes wrong after the header section cuts the connection.
var upstreamFaults = []struct {
	name    string
	address string // of nobody; else answer serves
	answer  func(net.Conn)
	code    string // "" with cut: the connection is cut; "" alone: passed on
	status  int
	cut     bool
	passes  string // how it ends unguarded: "" is as guarded, else "cut" or "forwarded"
	refund  bool
	slow    bool // waits for upstream.timeout
}{
	{name: "refused", address: "127.0.0.1:1", code: "UPSTREAM_ERROR", status: 502, refund: true},
	{name: "no such host", address: "no-such-host.onion", code: "UPSTREAM_ERROR", status: 502, refund: true},
	{name: "closes at once", answer: nil, code: "UPSTREAM_ERROR", status: 502},
	{name: "closes without an answer", answer: say(""), code: "UPSTREAM_ERROR", status: 502},
	{name: "reset without an answer", answer: sayThenReset(""), code: "UPSTREAM_ERROR", status: 502},
	{name: "reset within the headers", answer: sayThenReset(ok + "Conte"), code: "UPSTREAM_ERROR", status: 502},
	{name: "half-close within the headers", answer: func(c net.Conn) {
		say(ok + "Conte")(c)
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}, code: "UPSTREAM_ERROR", status: 502},
	{name: "reset within a short body", answer: sayThenReset(ok + "Content-Length: 100\r\n\r\n{\"data\""), code: "UPSTREAM_ERROR", status: 502, passes: "cut"},
	{name: "reset within a long body", answer: sayThenReset(ok + "Content-Length: 400000\r\n\r\n" + long), code: "UPSTREAM_ERROR", status: 502, cut: true},
	{name: "half-close within a body", answer: func(c net.Conn) {
		say(ok + "Content-Length: 100\r\n\r\n{\"data\"")(c)
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}, code: "UPSTREAM_ERROR", status: 502, passes: "cut"},
	{name: "half-close after a whole answer", answer: func(c net.Conn) {
		say(ok + "\r\n" + fine)(c)
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}, status: 200},
	{name: "Content-Length too long", answer: say(ok + "Content-Length: 999\r\n\r\n" + fine), code: "UPSTREAM_ERROR", status: 502, passes: "cut"},
	// What the upstream itself ended is passed on; the rest of it is nobody's answer.
	{name: "Content-Length too short", answer: say(ok + "Content-Length: 9\r\n\r\n" + fine), status: 200},
	{name: "Content-Length twice", answer: say(ok + "Content-Length: 24\r\nContent-Length: 9\r\n\r\n" + fine), code: "UPSTREAM_ERROR", status: 502},
	{name: "Content-Length negative", answer: say(ok + "Content-Length: -1\r\n\r\n" + fine), code: "UPSTREAM_ERROR", status: 502},
	{name: "Content-Length above max_response", answer: say(ok + "Content-Length: 99999999999\r\n\r\n"), code: "UPSTREAM_ERROR", status: 502},
	{name: "garbage for a status line", answer: say("220 mail.example ESMTP\r\n\r\n"), code: "UPSTREAM_ERROR", status: 502},
	{name: "garbage for a status", answer: say("HTTP/1.1 abc OK\r\n\r\n"), code: "UPSTREAM_ERROR", status: 502},
	{name: "TLS alert", answer: say("\x15\x03\x01\x00\x02\x02\x46"), code: "UPSTREAM_ERROR", status: 502},
	{name: "chunk size garbage", answer: say(chunked + "zz\r\n" + fine + "\r\n0\r\n\r\n"), code: "UPSTREAM_ERROR", status: 502, passes: "cut"},
	{name: "chunks end early", answer: say(chunked + "18\r\n" + fine + "\r\n"), code: "UPSTREAM_ERROR", status: 502, passes: "cut"},
	{name: "slow headers", answer: sayThenHold("HTTP/1.1 200"), code: "UPSTREAM_TIMEOUT", status: 504, slow: true},
	{name: "no headers", answer: sayThenHold(""), code: "UPSTREAM_TIMEOUT", status: 504, slow: true},
	{name: "idle body", answer: sayThenHold(chunked + "5\r\n{\"dat\r\n"), code: "UPSTREAM_TIMEOUT", status: 504, passes: "cut", slow: true},
	{name: "body in drips", answer: sayForever(chunked, "1\r\n \r\n", 10*time.Millisecond), code: "UPSTREAM_TIMEOUT", status: 504, passes: "cut", slow: true},
	{name: "endless body", answer: sayForever(chunked+"1\r\n{\r\n", "1000\r\n"+strings.Repeat(" ", 4096)+"\r\n", 0), cut: true},
	{name: "endless headers", answer: sayForever(ok, "X-A: "+strings.Repeat("a", 4000)+"\r\n", 0), code: "UPSTREAM_ERROR", status: 502},
	{name: "endless header line", answer: sayForever(ok+"X-A: ", strings.Repeat("a", 4000), 0), code: "UPSTREAM_ERROR", status: 502},
	{name: "giant header", answer: say(ok + "X-A: " + strings.Repeat("a", 1<<20) + "\r\n\r\n" + fine), code: "UPSTREAM_ERROR", status: 502},
	{name: "flood of 103", answer: sayForever("", "HTTP/1.1 103 Early Hints\r\nX-A: a\r\n\r\n", 0), code: "UPSTREAM_ERROR", status: 502},
	{name: "one 103", answer: say("HTTP/1.1 103 Early Hints\r\n\r\n" + ok + "Content-Length: 24\r\n\r\n" + fine), status: 200},
	{name: "101", answer: say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"), code: "UPSTREAM_ERROR", status: 502},
	{name: "redirect", answer: say("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"), code: "UPSTREAM_ERROR", status: 502, passes: "forwarded"},
	{name: "wrong content type", answer: say("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 24\r\n\r\n" + fine), code: "UPSTREAM_ERROR", status: 502, passes: "forwarded"},
	{name: "no content type", answer: say("HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n" + fine), code: "UPSTREAM_ERROR", status: 502, passes: "forwarded"},
	{name: "204", answer: say("HTTP/1.1 204 No Content\r\n\r\n"), code: "UPSTREAM_ERROR", status: 502, passes: "forwarded"},
	{name: "304", answer: say("HTTP/1.1 304 Not Modified\r\n\r\n"), code: "UPSTREAM_ERROR", status: 502, passes: "forwarded"},
	{name: "empty body", answer: say(ok + "Content-Length: 0\r\n\r\n"), code: "UPSTREAM_ERROR", status: 502, passes: "forwarded"},
	{name: "HTTP/1.0", answer: say("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + fine), status: 200},
	{name: "500 with JSON", answer: say("HTTP/1.1 500 Oops\r\nContent-Type: application/json\r\nContent-Length: 24\r\n\r\n" + fine), status: 500},
}

// Whatever an upstream does, a request has one answer, a settled charge and a
// record; goleak (TestMain) sees that nothing is left running.
func TestUpstreamFaults(t *testing.T) {
	for i := range upstreamFaults {
		fault := &upstreamFaults[i]
		for _, mode := range []string{"guarded", "unguarded"} {
			t.Run(fault.name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				address := fault.address
				if address == "" {
					address = faulty(t, fault.answer)
				}
				g := guard(t, func(c *firewall.Config) {
					c.Upstream.URL = "http://" + address + "/graphql"
					c.Upstream.MaxResponse = 1 << 20
					c.Upstream.Timeout = firewall.Duration(patience)
					if fault.slow {
						c.Upstream.Timeout = firewall.Duration(3 * time.Second) // so long that dialling is done by then, and the request read
					}
					if mode == "unguarded" {
						unguarded(c)
					}
				})
				cut, status, code := fault.cut, fault.status, fault.code
				if mode == "unguarded" && fault.passes != "" {
					cut, status, code = fault.passes == "cut", 0, ""
				}
				res, body, err := askOnce(g.address)
				switch {
				case cut && err == nil && res.StatusCode < 500:
					t.Errorf("the answer looks whole: %d, %d bytes", res.StatusCode, len(body))
				case cut:
				case err != nil:
					t.Errorf("no answer: %v", err)
				case status != 0 && res.StatusCode != status || code != codeOf(body):
					t.Errorf("%d %.200s, want %d %s", res.StatusCode, body, status, code)
				}
				lines := g.records.wait(1)
				if len(lines) != 1 {
					t.Fatalf("%d records: %q", len(lines), lines)
				}
				g.checkFault(t, lines[0], cut, code, fault.refund)
			})
		}
	}
}

// checkFault compares the record and the ledger with what was answered.
func (g *guarded) checkFault(t *testing.T, line string, cut bool, code string, refund bool) {
	t.Helper()
	var record struct {
		Verdict, Code, Stage string
		Aborted              bool
	}
	if err := json.Unmarshal([]byte(line), &record); err != nil {
		t.Fatal(err)
	}
	switch {
	case cut && (record.Verdict != audit.Failed || !record.Aborted || record.Code != "UPSTREAM_ERROR"):
		t.Errorf("the record of a cut answer: %s", line)
	case !cut && code != "" && (record.Verdict != audit.Failed || record.Code != code || record.Aborted):
		t.Errorf("the record, want %s: %s", code, line)
	case !cut && code == "" && record.Verdict != audit.Allowed:
		t.Errorf("the record of a whole answer: %s", line)
	}
	wantRefunds, wantStands := 0, 1
	if refund {
		wantRefunds, wantStands = 1, 0
	}
	if _, refunds, stands := g.ledger.state(); refunds != wantRefunds || stands != wantStands {
		t.Errorf("%d charges refunded and %d standing, want %d and %d", refunds, stands, wantRefunds, wantStands)
	}
}

// askOnce sends one request over a connection of its own.
func askOnce(address string) (*http.Response, []byte, error) {
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	client := &http.Client{Transport: transport, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Post("http://"+address+"/graphql", "application/json", strings.NewReader(streamQuery))
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, body, err
}

// A certificate that does not verify is refused before anything is sent.
func TestUpstreamTLSFailure(t *testing.T) {
	asked := false
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	up.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	up.Config.ErrorLog = discardLog
	up.StartTLS()
	defer up.Close()
	g := guard(t, func(c *firewall.Config) { c.Upstream.URL = up.URL })
	res, body, err := askOnce(g.address)
	if err != nil || res.StatusCode != http.StatusBadGateway || codeOf(body) != "UPSTREAM_ERROR" || strings.Contains(string(body), "x509") {
		t.Errorf("%v, %s, %v", res, body, err)
	}
	if asked {
		t.Error("an upstream that is not trusted was asked")
	}
	if lines := g.records.wait(1); len(lines) != 1 {
		t.Errorf("records: %q", lines)
	}
	if _, refunds, _ := g.ledger.state(); refunds != 1 {
		t.Errorf("%d refunds, want 1: the upstream saw nothing", refunds)
	}
}

var discardLog = log.New(io.Discard, "", 0)
