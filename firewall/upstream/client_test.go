package upstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/graphward/graphward/firewall/socket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer is a server that answers each request with the next of its scripts, and
// then keeps the connection.
type peer struct {
	listener    net.Listener
	connections atomic.Int32
	requests    atomic.Int32
	done        chan struct{}
}

// newPeer serves connections with handle, one after the other within a
// connection; a handle that reports false closes it.
func newPeer(t *testing.T, handle func(c net.Conn, r *http.Request, n int) bool) *peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{listener: l, done: make(chan struct{})}
	served := make(chan struct{}, 64)
	go func() {
		defer close(p.done)
		running := 0
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			p.connections.Add(1)
			running++
			go func() {
				defer func() { c.Close(); served <- struct{}{} }()
				in := bufio.NewReader(c)
				for {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					body, _ := io.ReadAll(r.Body)
					r.Body = io.NopCloser(bytes.NewReader(body))
					if !handle(c, r, int(p.requests.Add(1))) {
						return
					}
				}
			}()
		}
		for range running {
			<-served
		}
	}()
	t.Cleanup(func() { l.Close(); <-p.done })
	return p
}

func (p *peer) url() string { return "http://" + p.listener.Addr().String() + "/graphql" }

func newClient(t *testing.T, o Options) *Client {
	c := New(o)
	t.Cleanup(c.Close)
	return c
}

func post(t *testing.T, c *Client, url, body string) (*http.Response, string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(t.Context(), r, time.Minute)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res, string(text), err
}

// What a peer may send and what comes of it. kept says whether the connection
// serves a second request.
func TestAnswers(t *testing.T) {
	long := strings.Repeat("x", 300<<10)
	for name, test := range map[string]struct {
		raw     string
		close   bool // the peer closes after raw
		status  int
		body    string
		failure string // part of the error, of Do or of reading
		kept    bool
	}{
		"length":                 {raw: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", status: 200, body: "ok", kept: true},
		"no reason":              {raw: "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", status: 200, body: "ok", kept: true},
		"empty":                  {raw: "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", status: 500, kept: true},
		"no content":             {raw: "HTTP/1.1 204 No Content\r\n\r\n", status: 204, kept: true},
		"chunked":                {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n", status: 200, body: "abc", kept: true},
		"chunked with trailers":  {raw: "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n", status: 200, body: "ab", kept: true},
		"until close":            {raw: "HTTP/1.1 200 OK\r\n\r\nuntil the end", close: true, status: 200, body: "until the end"},
		"HTTP/1.0":               {raw: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", status: 200, body: "ok"},
		"HTTP/1.0 kept":          {raw: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", status: 200, body: "ok", kept: true},
		"connection: close":      {raw: "HTTP/1.1 200 OK\r\nConnection: x, CLOSE\r\nContent-Length: 2\r\n\r\nok", status: 200, body: "ok"},
		"informational skipped":  {raw: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", status: 200, body: "ok", kept: true},
		"a second answer behind": {raw: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", status: 200, body: "ok"},
		"long body":              {raw: "HTTP/1.1 200 OK\r\nContent-Length: 307200\r\n\r\n" + long, status: 200, body: long, kept: true},
		"long chunk":             {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4B000\r\n" + long + "\r\n0\r\n\r\n", status: 200, body: long, kept: true},

		"length and chunked":        {raw: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", failure: "not chunked alone"},
		"two lengths":               {raw: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", failure: "more than once"},
		"the same length twice":     {raw: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\nok", failure: "more than once"},
		"a list of lengths":         {raw: "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", failure: "no number"},
		"a signed length":           {raw: "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", failure: "no number"},
		"a hexadecimal length":      {raw: "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok", failure: "no number"},
		"an endless length":         {raw: "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok", failure: "no number"},
		"an empty length":           {raw: "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nok", failure: "no number"},
		"another coding":            {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", failure: "not chunked alone"},
		"an unknown coding":         {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n", failure: "control character"},
		"chunked twice":             {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", failure: "more than once"},
		"chunked in HTTP/1.0":       {raw: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", failure: "not chunked alone"},
		"a space before the colon":  {raw: "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok", failure: "no proper name"},
		"a folded line":             {raw: "HTTP/1.1 200 OK\r\nX-A: 1\r\n Content-Length: 2\r\n\r\nok", failure: "no proper name"},
		"a bare LF in a field":      {raw: "HTTP/1.1 200 OK\r\nX-A: 1\nContent-Length: 2\r\n\r\nok", failure: "control character"},
		"a bare CR in a field":      {raw: "HTTP/1.1 200 OK\r\nX-A: 1\rContent-Length: 2\r\n\r\nok", failure: "control character"},
		"NUL in a field":            {raw: "HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 2\r\n\r\nok", failure: "control character"},
		"no colon":                  {raw: "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", failure: "no proper name"},
		"lines end in LF":           {raw: "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", close: true, failure: "unexpected EOF"},
		"HTTP/2 preface":            {raw: "HTTP/2.0 200 OK\r\n\r\n", failure: "not HTTP/1.1"},
		"something else":            {raw: "SSH-2.0-OpenSSH_9.9\r\n\r\n", failure: "not HTTP/1.1"},
		"a short status":            {raw: "HTTP/1.1 20\r\n\r\n", failure: "status line"},
		"a long status":             {raw: "HTTP/1.1 2000 OK\r\n\r\n", failure: "status line"},
		"a status of letters":       {raw: "HTTP/1.1 abc OK\r\n\r\n", failure: "no number"},
		"a status of 999":           {raw: "HTTP/1.1 999 OK\r\n\r\n", failure: "out of range"},
		"switching protocols":       {raw: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", failure: "switches protocols"},
		"informational for ever":    {raw: strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 50), failure: "too many informational"},
		"a huge header":             {raw: "HTTP/1.1 200 OK\r\nX-A: " + long + "\r\n\r\n", failure: "too large"},
		"a huge number of fields":   {raw: "HTTP/1.1 200 OK\r\n" + strings.Repeat("a:b\r\n", 5000) + "\r\n", failure: "too many header fields"},
		"nothing":                   {close: true, failure: "unexpected EOF"},
		"half a header":             {raw: "HTTP/1.1 200 OK\r\nContent-", close: true, failure: "unexpected EOF"},
		"half a body":               {raw: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", close: true, status: 200, body: "ok", failure: "unexpected EOF"},
		"half a chunk":              {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok", close: true, status: 200, body: "ok", failure: "unexpected EOF"},
		"no last chunk":             {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", close: true, status: 200, body: "ok", failure: "unexpected EOF"},
		"a chunk longer than said":  {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nok\r\n0\r\n\r\n", status: 200, body: "o", failure: "does not end"},
		"a signed chunk length":     {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+2\r\nok\r\n0\r\n\r\n", status: 200, failure: "no number"},
		"an endless chunk length":   {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000002\r\nok\r\n0\r\n\r\n", status: 200, failure: "no number"},
		"an empty chunk length":     {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nok\r\n0\r\n\r\n", status: 200, failure: "no number"},
		"a chunk ended by LF":       {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n", status: 200, failure: "CRLF"},
		"CR in an extension":        {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a\rb\r\nok\r\n0\r\n\r\n", status: 200, failure: "control character"},
		"an endless extension":      {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;" + long + "\r\nok\r\n0\r\n\r\n", status: 200, failure: "too long"},
		"overhead without end":      {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1;"+strings.Repeat("x", 1000)+"\r\no\r\n", 1000), status: 200, body: strings.Repeat("o", 260), failure: "overhead"},
		"a trailer without a colon": {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nnonsense\r\n\r\n", status: 200, failure: "trailer"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, func(c net.Conn, _ *http.Request, n int) bool {
				if n > 1 {
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond")
					return true
				}
				_, _ = io.WriteString(c, test.raw)
				return !test.close
			})
			c := newClient(t, Options{})
			res, body, err := post(t, c, p.url(), "{}")
			if (err == nil) != (test.failure == "") || err != nil && !strings.Contains(err.Error(), test.failure) {
				t.Fatalf("error %v, want %q", err, test.failure)
			}
			if err != nil {
				if e, ok := errors.AsType[*Error](err); !ok || !e.Sent {
					t.Errorf("the error %#v does not say that the request was sent", err)
				}
			}
			if res != nil && res.StatusCode != test.status || res == nil && test.status != 0 || body != test.body {
				t.Errorf("status %v, %d bytes; want %d, %d bytes", res, len(body), test.status, len(test.body))
			}
			if _, second, err := post(t, c, p.url(), "{}"); err != nil || second != "second" {
				t.Fatalf("the next request: %q, %v", second, err)
			}
			if kept := p.connections.Load() == 1; kept != test.kept {
				t.Errorf("kept is %v", kept)
			}
		})
	}
}

func TestRequestBytes(t *testing.T) {
	r, _ := http.NewRequest(http.MethodPost, "http://example.org:81/graphql?x=1", strings.NewReader(`{"a":1}`))
	r.Header = http.Header{"X-One": {"1", ""}, "User-Agent": {""}, "Connection": {"x-one"}, "Transfer-Encoding": {"chunked"}, "Content-Length": {"99"}, "Host": {"evil"}}
	got, err := appendRequest(nil, r)
	want := "POST /graphql?x=1 HTTP/1.1\r\nHost: example.org:81\r\nX-One: 1\r\nX-One: \r\nContent-Length: 7\r\n\r\n{\"a\":1}"
	if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for name, change := range map[string]func(*http.Request){
		"CRLF in a value":  func(r *http.Request) { r.Header.Set("X-A", "1\r\nX-B: 2") },
		"LF in a name":     func(r *http.Request) { r.Header = http.Header{"X\nA": {"1"}} },
		"an empty name":    func(r *http.Request) { r.Header = http.Header{"": {"1"}} },
		"CRLF in the host": func(r *http.Request) { r.Host = "a\r\nX-B: 2" },
		"space in target":  func(r *http.Request) { r.URL = &url.URL{Scheme: "http", Host: "a", Opaque: "/a b"} },
		"space in method":  func(r *http.Request) { r.Method = "POST /" },
		"unknown length":   func(r *http.Request) { r.ContentLength = -1 },
		"short body":       func(r *http.Request) { r.ContentLength = 8 },
		"long body":        func(r *http.Request) { r.ContentLength = 6 },
		"https":            func(r *http.Request) { r.URL.Scheme = "https" },
	} {
		r, _ := http.NewRequest(http.MethodPost, "http://example.org/", strings.NewReader(`{"a":1}`))
		change(r)
		if got, err := appendRequest(nil, r); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// A connection that the peer closed while nobody used it is seen before it is
// written to, so that the request goes out once, over another.
func TestDeadKeptConnection(t *testing.T) {
	closed := make(chan struct{}, 1)
	p := newPeer(t, func(c net.Conn, _ *http.Request, n int) bool {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		if n == 1 {
			c.Close()
			closed <- struct{}{}
		}
		return n > 1
	})
	c := newClient(t, Options{})
	if _, _, err := post(t, c, p.url(), "{}"); err != nil {
		t.Fatal(err)
	}
	<-closed
	awaitEnd(t, c)
	if _, _, err := post(t, c, p.url(), "{}"); err != nil {
		t.Fatal(err)
	}
	if n := p.requests.Load(); n != 2 {
		t.Errorf("the peer saw %d requests", n)
	}
}

// awaitEnd returns when the system knows that the peer of the one connection kept has closed it.
func awaitEnd(t *testing.T, c *Client) {
	t.Helper()
	var kept *conn
	for i := range c.idle.shards {
		for _, k := range c.idle.shards[i].conns {
			kept = k.conn
		}
	}
	if kept == nil {
		t.Fatal("no connection is kept")
	}
	for gone := false; !gone; time.Sleep(time.Millisecond) {
		if err := kept.raw.Control(func(fd uintptr) { _, gone = socket.Peek(fd) }); err != nil {
			t.Fatal(err)
		}
	}
}

// A peer that takes the request and closes without an answer has seen it: it is
// not sent again, kept connection or not.
func TestNeverSentTwice(t *testing.T) {
	p := newPeer(t, func(c net.Conn, _ *http.Request, n int) bool {
		if n == 1 {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
		return n == 1
	})
	c := newClient(t, Options{})
	if _, _, err := post(t, c, p.url(), "{}"); err != nil {
		t.Fatal(err)
	}
	_, _, err := post(t, c, p.url(), "{}")
	if e, ok := errors.AsType[*Error](err); !ok || !e.Sent {
		t.Errorf("got %v", err)
	}
	if n := p.requests.Load(); n != 2 {
		t.Errorf("the peer saw %d requests", n)
	}
}

func TestRefusedConnection(t *testing.T) {
	// Nothing listens on port 1, and the system gives it to nobody.
	_, _, err := post(t, newClient(t, Options{}), "http://127.0.0.1:1/", "{}")
	if e, ok := errors.AsType[*Error](err); !ok || e.Sent || e.Timeout() {
		t.Errorf("got %#v", err)
	}
}

// Silence before the header section and silence within the body both end in a
// timeout; progress in the body does not.
func TestTimeout(t *testing.T) {
	for name, raw := range map[string]string{
		"no answer":     "",
		"half a header": "HTTP/1.1 200 OK\r\n",
		"half a body":   "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
		"half a chunk":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok",
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, func(c net.Conn, _ *http.Request, _ int) bool {
				_, _ = io.WriteString(c, raw)
				return true
			})
			c := newClient(t, Options{})
			for limit := 50 * time.Millisecond; ; limit *= 4 {
				r, _ := http.NewRequest(http.MethodPost, p.url(), strings.NewReader("{}"))
				res, err := c.Do(t.Context(), r, limit)
				if err == nil {
					_, err = io.ReadAll(res.Body)
					res.Body.Close()
				}
				e, ok := errors.AsType[*Error](err)
				if ok && e.Timeout() && !e.Sent && limit < time.Minute {
					continue // a busy machine, on which not even the request was out in time
				}
				if !ok || !e.Timeout() || !e.Sent {
					t.Errorf("got %v", err)
				}
				break
			}
		})
	}
}

// The end of the caller's context closes the connection at once, whether the
// header section is awaited or the body.
func TestAbort(t *testing.T) {
	left := errors.New("the client left")
	for name, raw := range map[string]string{"before the answer": "", "within the body": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok"} {
		t.Run(name, func(t *testing.T) {
			seen, gone := make(chan struct{}), make(chan struct{})
			p := newPeer(t, func(c net.Conn, _ *http.Request, _ int) bool {
				_, _ = io.WriteString(c, raw)
				close(seen)
				_, _ = c.Read(make([]byte, 1)) // until the client closes
				close(gone)
				return false
			})
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				<-seen
				cancel(left)
			}()
			r, _ := http.NewRequest(http.MethodPost, p.url(), strings.NewReader("{}"))
			res, err := newClient(t, Options{}).Do(ctx, r, time.Minute)
			if err == nil {
				_, err = io.ReadAll(res.Body)
				res.Body.Close()
			}
			if !errors.Is(err, left) {
				t.Errorf("got %v", err)
			}
			<-gone
		})
	}
}

// Close of a body that has not ended closes its connection, and a second Close,
// after the connection serves another request, touches nothing.
func TestCloseEarlyAndTwice(t *testing.T) {
	p := newPeer(t, func(c net.Conn, _ *http.Request, _ int) bool {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		return true
	})
	c := newClient(t, Options{})
	r := func() *http.Request {
		r, _ := http.NewRequest(http.MethodPost, p.url(), strings.NewReader("{}"))
		return r
	}
	early, err := c.Do(t.Context(), r(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	early.Body.Close()
	if _, err := early.Body.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("reading a closed body: %v", err)
	}
	first, err := c.Do(t.Context(), r(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(first.Body); err != nil {
		t.Fatal(err)
	}
	second, err := c.Do(t.Context(), r(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	first.Body.Close()
	if text, err := io.ReadAll(second.Body); err != nil || string(text) != "ok" {
		t.Errorf("%q, %v", text, err)
	}
	second.Body.Close()
	if n := p.connections.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

func TestPoolBounds(t *testing.T) {
	var pool pool
	pool.start(time.Hour, 4)
	defer pool.close()
	var ours []net.Conn
	for range 64 {
		a, b := net.Pipe()
		ours = append(ours, b)
		pool.put("h:80", newConn(a))
	}
	kept := 0
	for i := range pool.shards {
		kept += len(pool.shards[i].conns)
	}
	if kept == 0 || kept > 4 {
		t.Errorf("%d connections are kept", kept)
	}
	if pool.get("other:80") != nil {
		t.Error("a connection went to another host")
	}
	pool.evict(time.Now().Add(time.Second))
	if pool.get("h:80") != nil {
		t.Error("an old connection was not evicted")
	}
	for _, c := range ours {
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("a connection is open: %v", err)
		}
	}
	a, b := net.Pipe()
	defer b.Close()
	pool.close()
	pool.put("h:80", newConn(a))
	if _, err := b.Read(make([]byte, 1)); err != io.EOF {
		t.Error("a closed pool kept a connection")
	}
}

// Many callers at once get the answers to their own requests.
func TestConcurrent(t *testing.T) {
	p := newPeer(t, func(c net.Conn, r *http.Request, _ int) bool {
		body, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"+string(body))
		return true
	})
	c := newClient(t, Options{})
	errs := make(chan error, 16)
	for i := range 16 {
		go func() {
			body := strings.Repeat(string(rune('a'+i)), 4)
			for range 50 {
				r, _ := http.NewRequest(http.MethodPost, p.url(), strings.NewReader(body))
				res, err := c.RoundTrip(r)
				if err != nil {
					errs <- err
					return
				}
				text, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || string(text) != body {
					errs <- errors.Join(err, errors.New("got "+string(text)+" for "+body))
					return
				}
			}
			errs <- nil
		}()
	}
	for range 16 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkDo(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(make([]byte, 1500))
	})}
	go s.Serve(l)
	defer s.Close()
	c := New(Options{})
	defer c.Close()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	defer transport.CloseIdleConnections()
	for name, rt := range map[string]http.RoundTripper{"client": c, "net-http": transport} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			buf := make([]byte, 4096)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			for b.Loop() {
				r, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+l.Addr().String()+"/", strings.NewReader("{}"))
				res, err := rt.RoundTrip(r)
				if err != nil {
					b.Fatal(err)
				}
				for err == nil {
					_, err = res.Body.Read(buf)
				}
				res.Body.Close()
			}
		})
	}
}

// A peer that keeps a request waiting for longer than patience is waited for, and
// its caller's leaving ends the wait all the same.
func TestSlowAnswer(t *testing.T) {
	begun := make(chan struct{}, 8)
	hold := make(chan struct{})
	p := newPeer(t, func(c net.Conn, r *http.Request, n int) bool {
		begun <- struct{}{}
		switch r.URL.Path {
		case "/slow":
			time.Sleep(3 * patience)
		case "/never":
			<-hold
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
		return true
	})
	c := New(Options{})
	defer c.Close()
	defer close(hold)
	host := p.listener.Addr().String()
	for _, target := range []string{"/", "/slow", "/", "/slow"} {
		res, err := c.Post(t.Context(), &Message{Host: host, Target: target, Body: []byte("{}")}, time.Minute, &Answer{})
		if err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		if body, err := io.ReadAll(res.Body); string(body) != "{}" || err != nil {
			t.Errorf("%s: %q, %v", target, body, err)
		}
		<-begun
	}
	if n := p.connections.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	if _, err := c.Post(ctx, &Message{Host: host, Target: "/never", Body: []byte("{}")}, time.Minute, &Answer{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A request that does not fit the socket at once arrives whole.
func TestLargeRequest(t *testing.T) {
	body := bytes.Repeat([]byte("x"), 16<<20)
	got := make(chan int64, 1)
	p := newPeer(t, func(c net.Conn, r *http.Request, n int) bool {
		got <- r.ContentLength
		_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		return true
	})
	c := New(Options{})
	defer c.Close()
	res, err := c.Post(t.Context(), &Message{Host: p.listener.Addr().String(), Target: "/", Body: body}, time.Minute, &Answer{})
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if n := <-got; n != int64(len(body)) || res.StatusCode != http.StatusNoContent {
		t.Errorf("%d bytes, status %d", n, res.StatusCode)
	}
}

// Every byte at every place of a word, so that no neighbour hides one.
func TestCleanValue(t *testing.T) {
	for _, around := range []string{"a", " ", "\t", "~", "\x00", "\x1f", "\x7f", "\x80", "\xff"} {
		for at := range 19 {
			for c := range 256 {
				s := strings.Repeat("x", at) + string([]byte{byte(c)}) + around + strings.Repeat("y", 18-at)
				want := true
				for i := range len(s) {
					want = want && (s[i] == '\t' || s[i] >= ' ' && s[i] != 0x7f) // RFC 9110 section 5.5
				}
				if clean(s, true) != want || clean([]byte(s), true) != want {
					t.Fatalf("%q: want %v", s, want)
				}
			}
		}
	}
}
