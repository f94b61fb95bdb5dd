package upstream

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// canned is a connection that has already said everything, in pieces of a size.
type canned struct {
	net.Conn
	rest  []byte
	piece int
}

func (c *canned) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.rest[:min(c.piece, len(c.rest))])
	c.rest = c.rest[n:]
	return n, nil
}

func (c *canned) Write(p []byte) (int, error) { return len(p), nil }
func (c *canned) Close() error                { return nil }
func (c *canned) SetDeadline(time.Time) error { return nil }

func (*canned) SetWriteDeadline(time.Time) error    { return nil }
func (c *canned) SetReadDeadline(t time.Time) error { return nil }

// What the client takes, net/http takes too, and both read the same from it:
// so that what the client refuses is all that divides them.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nX-T: 1\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not\r\nX-A: 1\r\nx-a: 2\r\nConnection: close\r\n\r\nrest",
		"HTTP/1.0 204 None\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 \r\nA: b\r\n c\r\n\r\n",
	} {
		f.Add([]byte(seed), 1)
		f.Add([]byte(seed), 1000)
	}
	f.Fuzz(func(t *testing.T, raw []byte, piece int) {
		if piece < 1 || len(raw) > 64<<10 {
			return
		}
		c := &Client{options: Options{MaxHeader: 16 << 10}}
		c.options.fill()
		c.idle.max = 0 // nothing is kept
		c.dial = func(context.Context, string, string) (net.Conn, error) {
			return &canned{rest: bytes.Clone(raw), piece: piece}, nil
		}
		request := &http.Request{Method: http.MethodPost, URL: &url.URL{Scheme: "http", Host: "h", Path: "/"}, Header: http.Header{}}
		res, err := c.Do(t.Context(), request, time.Minute)
		if err != nil {
			return
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		want, wantBody, wantErr := reference(raw, request)
		if want == nil {
			t.Fatalf("net/http refuses it: %v", wantErr)
		}
		if err != nil {
			return // we may refuse what comes later
		}
		if wantErr != nil {
			t.Fatalf("net/http refuses the body: %v", wantErr)
		}
		// net/http understands a Pragma and takes Trailer and a close out.
		for _, h := range []http.Header{res.Header, want.Header} {
			h.Del("Trailer")
			h.Del("Connection")
			if len(h["Pragma"]) > 0 {
				h.Del("Cache-Control")
			}
		}
		if res.StatusCode != want.StatusCode || !bytes.Equal(body, wantBody) || res.ContentLength != want.ContentLength {
			t.Errorf("status %d, length %d, body %q; net/http: %d, %d, %q", res.StatusCode, res.ContentLength, body, want.StatusCode, want.ContentLength, wantBody)
		}
		if diff := cmp.Diff(want.Header, res.Header); diff != "" {
			t.Errorf("headers (-net/http +ours):\n%s", diff)
		}
	})
}

// reference reads the first final answer with net/http.
func reference(raw []byte, request *http.Request) (*http.Response, []byte, error) {
	in := bufio.NewReader(bytes.NewReader(raw))
	for {
		res, err := http.ReadResponse(in, request)
		if err != nil {
			return nil, nil, err
		}
		if res.StatusCode >= 200 {
			body, err := io.ReadAll(res.Body)
			return res, body, err
		}
	}
}
