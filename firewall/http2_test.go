package firewall_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/graphward/graphward/firewall"
)

// slowFor answers at once, except the operations that hold the word: those stay
// until release is closed, whether or not their caller does.
type slowFor struct {
	word    string
	release chan struct{}
	held    atomic.Int64
	most    atomic.Int64
}

func (s *slowFor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if bytes.Contains(body, []byte(s.word)) {
		for n := s.held.Add(1); ; {
			if most := s.most.Load(); n <= most || s.most.CompareAndSwap(most, n) {
				break
			}
		}
		<-s.release
		s.held.Add(-1)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"data":{"secret":"s"}}`)
}

// attacker speaks HTTP/2 frame by frame.
type attacker struct {
	net.Conn
	*http2.Framer
	block bytes.Buffer
	hpack *hpack.Encoder
}

func newAttacker(t testing.TB, s *secured, address string, settings ...http2.Setting) *attacker {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: s.server.Pool(), NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	a := &attacker{Conn: conn, Framer: http2.NewFramer(conn, conn)}
	a.SetMaxReadFrameSize(16 << 10)
	a.hpack = hpack.NewEncoder(&a.block)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := a.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return a
}

// header is the start of a request's header block, with further fields.
func (a *attacker) header(fields ...hpack.HeaderField) []byte {
	a.block.Reset()
	for _, f := range append([]hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "localhost"}, {Name: ":path", Value: "/graphql"},
		{Name: "content-type", Value: "application/json"},
	}, fields...) {
		_ = a.hpack.WriteField(f)
	}
	return a.block.Bytes()
}

// ask sends a whole request on a stream.
func (a *attacker) ask(stream uint32, body string) error {
	return errors.Join(a.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: a.header(), EndHeaders: true}),
		a.WriteData(stream, true, []byte(body)))
}

// drain reads frames until the server says GOAWAY or ends the connection.
func (a *attacker) drain(each func(http2.Frame)) (code http2.ErrCode, away bool) {
	for {
		f, err := a.ReadFrame()
		if err != nil {
			return code, away
		}
		if g, ok := f.(*http2.GoAwayFrame); ok {
			code, away = g.ErrCode, true
		}
		if each != nil {
			each(f)
		}
	}
}

// ended waits until the server ends the connection; the error says that it did
// not.
func (a *attacker) ended() error {
	if _, err := io.Copy(io.Discard, a.Conn); errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

// flood is one attack: it returns what a server must not have let happen.
type flood struct {
	name string
	// settings are the client's.
	settings []http2.Setting
	run      func(t *testing.T, a *attacker)
	// code is of the GOAWAY that ends the connection; nil where the connection may live.
	code *http2.ErrCode
}

func ends(code http2.ErrCode) *http2.ErrCode { return &code }

const boom = `{"query":"{ boom }"}`

// sends repeats a write until the server has had enough, at most n times, and
// reports how many it took.
func sends(n int, write func(i int) error) int {
	for i := range n {
		if write(i) != nil {
			return i
		}
	}
	return n
}

var floods = []flood{
	{name: "rapid reset, CVE-2023-44487", run: func(t *testing.T, a *attacker) {
		n := sends(20_000, func(i int) error {
			id := uint32(2*i + 1)
			return errors.Join(a.ask(id, boom), a.WriteRSTStream(id, http2.ErrCodeCancel))
		})
		// All may be on their way before the server has read much.
		if err := a.ended(); err != nil {
			t.Errorf("%d streams were opened and reset, and the connection lives: %v", n, err)
		}
	}},
	{name: "CONTINUATION without end, CVE-2023-45288", code: ends(http2.ErrCodeProtocol), run: func(t *testing.T, a *attacker) {
		block := bytes.Clone(a.header())
		_ = a.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndStream: true})
		a.block.Reset()
		_ = a.hpack.WriteField(hpack.HeaderField{Name: "x-filler", Value: strings.Repeat("a", 15_000), Sensitive: true})
		if n := sends(4_000, func(int) error { return a.WriteContinuation(1, false, a.block.Bytes()) }); n == 4_000 {
			t.Error("a header block of 40 MB was taken")
		}
	}},
	{name: "empty CONTINUATION without end", run: func(_ *testing.T, a *attacker) {
		_ = a.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: a.header(), EndStream: true})
		sends(20_000, func(int) error { return a.WriteContinuation(1, false, nil) })
	}},
	{name: "SETTINGS unread, CVE-2019-9515", run: func(_ *testing.T, a *attacker) {
		sends(200_000, func(int) error { return a.WriteSettings() })
	}},
	{name: "PING unread, CVE-2019-9512", run: func(_ *testing.T, a *attacker) {
		sends(200_000, func(int) error { return a.WritePing(false, [8]byte{}) })
	}},
	{name: "PRIORITY", run: func(_ *testing.T, a *attacker) {
		sends(20_000, func(i int) error {
			return a.WritePriority(uint32(2*i+1), http2.PriorityParam{StreamDep: 0, Weight: byte(i)})
		})
	}},
	{name: "empty DATA, CVE-2019-9518", run: func(_ *testing.T, a *attacker) {
		_ = a.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: a.header(), EndHeaders: true})
		sends(20_000, func(int) error { return a.WriteData(1, false, nil) })
	}},
	{name: "a frame of 1 MiB", code: ends(http2.ErrCodeFrameSize), run: func(_ *testing.T, a *attacker) {
		a.AllowIllegalWrites = true
		_ = a.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: a.header(), EndHeaders: true})
		_ = a.WriteData(1, false, make([]byte, 1<<20))
	}},
	{name: "a header list of a million fields by index", run: func(_ *testing.T, a *attacker) {
		// One field in the dynamic table, then references of one byte each: 4 KB become 4 MB.
		block := bytes.Clone(a.header(hpack.HeaderField{Name: "x-bomb", Value: strings.Repeat("b", 3_000)}))
		_ = a.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block})
		sends(64, func(int) error { return a.WriteContinuation(1, false, bytes.Repeat([]byte{0x80 | 62}, 15_000)) })
		_ = a.WriteContinuation(1, true, nil)
	}},
	{name: "streams without end", run: func(t *testing.T, a *attacker) {
		sends(2_000, func(i int) error { return a.ask(uint32(2*i+1), boom) })
	}},
	{name: "streams that never send their body", run: func(_ *testing.T, a *attacker) {
		sends(2_000, func(i int) error {
			return a.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: a.header(), EndHeaders: true})
		})
	}},
	{name: "answers that are not taken", settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}, run: func(_ *testing.T, a *attacker) {
		sends(200, func(i int) error { return a.ask(uint32(2*i+1), `{"query":"{ secret }"}`) })
	}},
}

// Whatever frames a connection sends, others are served meanwhile, one
// connection reaches the backend at most a few hundred times at once, memory stays where it
// was, and the server drains afterwards (served checks that, and goleak).
func TestHTTP2Floods(t *testing.T) {
	for _, tt := range floods {
		t.Run(tt.name, func(t *testing.T) {
			s := newSecured(t)
			backend := &slowFor{word: "boom", release: make(chan struct{})}
			_, server := served(t, s.Config, firewall.WithHandler(backend))
			address := server.Addr().String()

			var others sync.WaitGroup
			ctx, stop := context.WithCancel(context.Background())
			answered := make(chan struct{})
			others.Go(func() { bystander(ctx, t, s, address, answered) })
			<-answered

			before := heap()
			a := newAttacker(t, s, address, tt.settings...)
			tt.run(t, a)
			// It is served with the flood taken in: the first of these may have begun before.
			<-answered
			<-answered
			grown := int64(heap()) - int64(before)
			if grown > 48<<20 {
				t.Errorf("the heap has grown by %d MiB", grown>>20)
			}
			// 250 streams, and at most 100 resets or as many as there are other requests.
			if n := backend.most.Load(); n > 600 {
				t.Errorf("%d requests of one connection were with the backend at once", n)
			}
			t.Logf("the heap has grown by %d KiB, %d requests were with the backend at once", grown>>10, backend.most.Load())
			if tt.code != nil {
				if code, away := a.drain(nil); away && code != *tt.code {
					t.Errorf("the connection ended with %v, want %v", code, *tt.code)
				}
			}
			close(backend.release)
			a.Close()
			stop()
			others.Wait()
		})
	}
}

// bystander asks on its own connection until ctx ends; each request must be answered.
func bystander(ctx context.Context, t *testing.T, s *secured, address string, answered chan<- struct{}) {
	defer close(answered)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.server.Pool()}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience}
	for ctx.Err() == nil {
		res, err := client.Post("https://"+address+"/graphql", "application/json", strings.NewReader(`{"query":"{ secret }"}`))
		if err != nil {
			t.Errorf("another client: %v", err)
			return
		}
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("another client: status %d, %v", res.StatusCode, err)
			return
		}
		select {
		case answered <- struct{}{}:
		case <-ctx.Done():
		}
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A client that takes back every third request, as a search box does, keeps its
// connection.
func TestResetsAmongRequests(t *testing.T) {
	s := newSecured(t)
	backend := &slowFor{word: "boom", release: make(chan struct{})}
	_, server := served(t, s.Config, firewall.WithHandler(backend))
	var dials atomic.Int64
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: s.server.Pool()},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			dials.Add(1)
			return new(net.Dialer).DialContext(ctx, network, address)
		}}
	defer transport.CloseIdleConnections()
	ask := func(ctx context.Context, body string) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+server.Addr().String()+"/graphql", strings.NewReader(body))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/json")
		res, err := transport.RoundTrip(r)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, res.Body)
		return errors.Join(err, res.Body.Close())
	}
	for range 150 {
		before := backend.held.Load()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- ask(ctx, boom) }()
		for backend.held.Load() == before {
			runtime.Gosched()
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatalf("a request taken back: %v", err)
		}
		for range 2 {
			if err := ask(t.Context(), `{"query":"{ secret }"}`); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(backend.release)
	if n := dials.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}
