package firewall_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/graphward/graphward/firewall"
)

// shape is one HTTP/2 request that an HTTP/1 server behind a gateway, or another
// reader of the same bytes, would understand in another way.
type shape struct {
	name string
	// fields are the whole header block, "name: value" each; see plainly.
	fields  []string
	body    string
	trailer []string
	// want is what the client gets: a refusal's code, a status, or "reset" where
	// the stream or the connection ends. Only "200" may reach the backend.
	want string
	// host is what the backend is told, with 200.
	host string
}

// plainly are the fields of a plain request, changed: "-name" leaves one out,
// ":name: value" replaces a pseudo field where it stands, the others follow.
func plainly(changes ...string) []string {
	out := []string{":method: POST", ":scheme: https", ":authority: localhost", ":path: /graphql", "content-type: application/json",
		"accept: application/graphql-response+json"}
	for _, c := range changes {
		name, left := strings.CutPrefix(c, "-")
		if !left {
			name = c[:strings.Index(c[1:], ":")+2]
		}
		replaced := false
		for i := 0; i < len(out); i++ {
			if strings.HasPrefix(out[i], name) && (left || c[0] == ':') && !replaced {
				if replaced = true; left {
					out = append(out[:i], out[i+1:]...)
				} else {
					out[i] = c
				}
			}
		}
		if !replaced {
			out = append(out, c)
		}
	}
	return out
}

var shapes = []shape{
	{name: "plain", fields: plainly(), body: boom, want: "200", host: "localhost"},
	{name: "host beside authority", fields: plainly("host: evil.example"), body: boom, want: "200", host: "localhost"},
	{name: "host alone", fields: plainly("-:authority:", "host: localhost"), body: boom, want: "200", host: "localhost"},
	{name: "double slash", fields: plainly(":path: //graphql"), body: boom, want: "NOT_FOUND"},
	{name: "absolute path", fields: plainly(":path: https://evil.example/graphql"), body: boom, want: "NOT_FOUND"},
	{name: "path with another's authority", fields: plainly(":path: //evil.example/graphql"), body: boom, want: "NOT_FOUND"},
	{name: "relative path", fields: plainly(":path: graphql"), body: boom, want: "reset"},
	{name: "empty path", fields: plainly(":path: "), body: boom, want: "reset"},
	{name: "no path", fields: plainly("-:path:"), body: boom, want: "reset"},
	{name: "path with a request in it", fields: plainly(":path: /graphql HTTP/1.1\r\nx: y"), body: boom, want: "reset"},
	{name: "path with a space", fields: plainly(":path: /graphql /admin"), body: boom, want: "NOT_FOUND"},
	{name: "path twice", fields: append([]string{":path: /other"}, plainly()...), body: boom, want: "reset"},
	{name: "method twice", fields: append([]string{":method: GET"}, plainly()...), body: boom, want: "reset"},
	{name: "method with a request in it", fields: plainly(":method: POST /graphql HTTP/1.1\r\nx:"), body: boom, want: "reset"},
	{name: "method in lower case", fields: plainly(":method: post"), body: boom, want: "METHOD_NOT_ALLOWED"},
	{name: "no method", fields: plainly("-:method:"), body: boom, want: "reset"},
	{name: "another scheme", fields: plainly(":scheme: ftp"), body: boom, want: "reset"},
	{name: "pseudo field behind a field", fields: append([]string{"x: y"}, plainly()...), body: boom, want: "reset"},
	{name: "unknown pseudo field", fields: append([]string{":evil: 1"}, plainly()...), body: boom, want: "reset"},
	{name: "status in a request", fields: append([]string{":status: 200"}, plainly()...), body: boom, want: "reset"},
	{name: "authority with user information", fields: plainly(":authority: a@localhost"), body: boom, want: "reset"},
	{name: "authority with a line end", fields: plainly(":authority: localhost\r\nx: y"), body: boom, want: "reset"},
	{name: "name in upper case", fields: plainly("X-Upper: 1"), body: boom, want: "reset"},
	{name: "name with a space", fields: plainly("content-length : 3"), body: boom, want: "reset"},
	{name: "empty name", fields: plainly(" : x"), body: boom, want: "reset"},
	{name: "value with a line end", fields: plainly("x-a: b\r\nx-graphward-subject: 1"), body: boom, want: "reset"},
	{name: "value with NUL", fields: plainly("x-a: b\x00c"), body: boom, want: "reset"},
	{name: "connection", fields: plainly("connection: authorization"), body: boom, want: "400"},
	{name: "transfer-encoding", fields: plainly("transfer-encoding: chunked"), body: "14\r\n" + boom + "\r\n0\r\n\r\n", want: "400"},
	{name: "upgrade", fields: plainly("upgrade: h2c"), body: boom, want: "400"},
	{name: "keep-alive", fields: plainly("keep-alive: 5"), body: boom, want: "400"},
	{name: "te", fields: plainly("te: gzip"), body: boom, want: "400"},
	{name: "content-length shorter than the body", fields: plainly("content-length: 5"), body: boom, want: "reset"},
	{name: "content-length longer than the body", fields: plainly("content-length: 500"), body: boom, want: "BAD_REQUEST"},
	// Frames end the body, and upstream is told the length of what it gets.
	{name: "content-length twice", fields: plainly("content-length: 20", "content-length: 5"), body: boom, want: "200", host: "localhost"},
	{name: "content-length as a list", fields: plainly("content-length: 20, 20"), body: boom, want: "reset"},
	{name: "websocket by extended CONNECT", fields: append([]string{":protocol: websocket"}, plainly(":method: CONNECT")...), want: "reset"},
	{name: "CONNECT", fields: []string{":method: CONNECT", ":authority: localhost:443"}, want: "NOT_FOUND"},
	{name: "trailer with a credential", fields: plainly(), body: boom, trailer: []string{"authorization: Bearer x"}, want: "200", host: "localhost"},
	{name: "announced trailer with a credential", fields: plainly("trailer: authorization"), body: boom, trailer: []string{"authorization: Bearer x"}, want: "reset"},
	{name: "announced trailer", fields: plainly("trailer: x-graphward-subject"), body: boom, trailer: []string{"x-graphward-subject: 1"}, want: "200", host: "localhost"},
	{name: "pseudo field in the trailer", fields: plainly(), body: boom, trailer: []string{":path: /other"}, want: "reset"},
	{name: "cookies in crumbs", fields: plainly("cookie: a=1", "cookie: b=2"), body: boom, want: "200", host: "localhost"},
}

// Each gets its verdict, the backend hears of none that is refused, and of the
// others it hears what was judged.
func TestHTTP2Shapes(t *testing.T) {
	s := newSecured(t)
	var asked atomic.Pointer[http.Request]
	_, server := served(t, s.Config, firewall.WithHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		asked.Store(r)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":{"boom":null}}`)
	})))
	for _, x := range shapes {
		t.Run(x.name, func(t *testing.T) {
			asked.Store(nil)
			a := newAttacker(t, s, server.Addr().String())
			a.AllowIllegalWrites = true
			a.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
			got := a.shape(&x)
			if got != x.want {
				t.Errorf("got %s, want %s", got, x.want)
			}
			r := asked.Load()
			if (r != nil) != (x.want == "200") {
				t.Fatalf("the backend was asked: %v", r != nil)
			}
			if r == nil {
				return
			}
			if host := r.Header.Get("X-Forwarded-Host"); host != x.host {
				t.Errorf("the backend is told %s", host)
			}
			for _, name := range []string{"Authorization", "Trailer", "X-Graphward-Subject"} {
				if r.Header.Get(name) != "" || r.Trailer != nil {
					t.Errorf("%s: %s, trailer %v", name, r.Header.Get(name), r.Trailer)
				}
			}
		})
	}
}

// shape sends a request on a stream and says what came of it.
func (a *attacker) shape(x *shape) string {
	block := func(fields []string) []byte {
		a.block.Reset()
		for _, f := range fields {
			at := strings.Index(f[1:], ":") + 1
			name, value := f[:at], strings.TrimPrefix(f[at+1:], " ")
			_ = a.hpack.WriteField(hpack.HeaderField{Name: name, Value: value})
		}
		return bytes.Clone(a.block.Bytes())
	}
	err := a.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(x.fields), EndHeaders: true})
	err = errors.Join(err, a.WriteData(1, len(x.trailer) == 0, []byte(x.body)))
	if len(x.trailer) > 0 {
		err = errors.Join(err, a.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(x.trailer), EndHeaders: true, EndStream: true}))
	}
	status, body := "", []byte{}
	for {
		f, readErr := a.ReadFrame()
		if readErr != nil {
			return "reset"
		}
		switch f := f.(type) {
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return "reset"
		case *http2.MetaHeadersFrame:
			status = f.PseudoValue("status")
		case *http2.DataFrame:
			body = append(body, f.Data()...)
		}
		if h := f.Header(); h.StreamID == 1 && h.Flags.Has(http2.FlagDataEndStream) && h.Type != http2.FrameWindowUpdate {
			break
		}
	}
	var answer struct {
		Errors []struct{ Extensions struct{ Code string } }
	}
	if json.Unmarshal(body, &answer) == nil && len(answer.Errors) > 0 {
		return answer.Errors[0].Extensions.Code
	}
	if err != nil {
		return err.Error()
	}
	return status
}
