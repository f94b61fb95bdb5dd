package firewall_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"time"
	"unicode/utf16"

	"github.com/graphward/graphward/firewall/identity/identitytest"
)

// patience bounds what a test waits for. It is far above what any takes, also on
// a machine that is busy with other things.
const patience = time.Minute

// answered is an answer as it came.
type answered struct {
	status int
	header http.Header
	body   []byte
	closed bool // the connection ended instead
	err    error
}

func (a *answered) String() string {
	if a.closed {
		return fmt.Sprintf("closed (%v)", a.err)
	}
	return fmt.Sprintf("%d %v %.400q (%v)", a.status, a.header, a.body, a.err)
}

// step is something that the client does: it waits, or it sends.
type step struct {
	send   []byte
	pause  time.Duration
	answer bool // wait for the next answer
	asked  bool // wait until upstream has been asked
	begun  bool // wait for the header section of the first answer
	eof    bool
	gone   bool   // the client leaves
	method string // of the request that send begins
}

// requests are the request section as steps, each one request; nil with raw.
func (c *testCase) requests() ([]step, error) {
	text, ok := c.files["request"]
	if !ok {
		return nil, nil
	}
	var steps []step
	for part := range strings.SplitSeq(text, "\n----\n") {
		s, n, err := c.request(part)
		if err != nil {
			return nil, err
		}
		for range n {
			steps = append(steps, s)
		}
	}
	return steps, nil
}

var timesRequest = regexp.MustCompile(`^x([0-9]+) `)

// request builds the bytes of one request.
func (c *testCase) request(text string) (s step, n int, err error) {
	head, body, _ := strings.Cut(text, "\n\n")
	if head, err = c.expand(head); err != nil {
		return s, 0, err
	}
	if body, err = c.expand(strings.TrimSuffix(body, "\n")); err != nil {
		return s, 0, err
	}
	n = 1
	if m := timesRequest.FindStringSubmatch(head); m != nil {
		n, _ = strconv.Atoi(m[1])
		head = head[len(m[0]):]
	}
	lines := strings.Split(strings.Trim(head, "\n"), "\n")
	s.method, _, _ = strings.Cut(lines[0], " ")
	if !strings.Contains(lines[0], " HTTP/") {
		lines[0] += " HTTP/1.1"
	}
	var out strings.Builder
	has := map[string]bool{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		if name == "X-Test-Claims" {
			name = "Authorization"
			line = "Authorization: Bearer " + bearer(strings.TrimSpace(value))
		}
		has[strings.ToLower(name)] = true
		out.WriteString(line + "\r\n")
	}
	if !has["host"] {
		out.WriteString("Host: firewall.test\r\n")
	}
	if claims, ok := c.files["as"]; ok && !has["authorization"] {
		out.WriteString("Authorization: Bearer " + bearer(claims) + "\r\n")
	}
	if !has["content-length"] && !has["transfer-encoding"] && (body != "" || s.method == http.MethodPost) {
		fmt.Fprintf(&out, "Content-Length: %d\r\n", len(body))
	}
	s.send = []byte(out.String() + "\r\n" + body)
	return s, n, nil
}

// steps are everything that the client does.
func (c *testCase) steps() ([]step, error) {
	if steps, err := c.requests(); steps != nil || err != nil {
		var out []step
		for _, s := range steps {
			out = append(out, s, step{answer: true})
		}
		return out, err
	}
	text, err := c.expand(c.files["raw"])
	if err != nil {
		return nil, err
	}
	return rawSteps(text)
}

func rawSteps(text string) ([]step, error) {
	steps := []step{{}}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "~answer":
			steps = append(steps, step{answer: true}, step{})
		case line == "~asked":
			steps = append(steps, step{asked: true}, step{})
		case line == "~begun":
			steps = append(steps, step{begun: true}, step{})
		case line == "~gone":
			steps = append(steps, step{gone: true})
		case line == "~eof":
			steps = append(steps, step{eof: true}, step{})
		case strings.HasPrefix(line, "~"):
			d, err := time.ParseDuration(line[1:])
			if err != nil {
				return nil, err
			}
			steps = append(steps, step{pause: d}, step{})
		default:
			bytes, err := unescape(line)
			if err != nil {
				return nil, err
			}
			last := &steps[len(steps)-1]
			last.send = append(last.send, bytes...)
		}
	}
	return steps, nil
}

// unescape reads \r \n \t \\ and \xNN; all else stands for itself.
func unescape(line string) ([]byte, error) {
	var out []byte
	for i := 0; i < len(line); i++ {
		if line[i] != '\\' || i+1 == len(line) {
			out = append(out, line[i])
			continue
		}
		i++
		switch line[i] {
		case 'r':
			out = append(out, '\r')
		case 'n':
			out = append(out, '\n')
		case 't':
			out = append(out, '\t')
		case '\\':
			out = append(out, '\\')
		case 'x':
			b, err := hex.DecodeString(line[i+1 : i+3])
			if err != nil {
				return nil, err
			}
			out = append(out, b...)
			i += 2
		default:
			out = append(out, '\\', line[i])
		}
	}
	return out, nil
}

// exchange sends what the case sends and reads all answers. Writing and reading
// go on at the same time, because a refusal may come before the request ends.
func (c *testCase) exchange(t *testing.T, e *environment) []answered {
	t.Helper()
	steps, err := c.steps()
	if err != nil {
		t.Fatal(err)
	}
	if c.files["raw"] == "" {
		var out []answered
		var conn *connection
		for _, s := range steps {
			if s.answer {
				a := conn.read(t)
				out = append(out, a)
				if a.closed || a.err != nil || strings.EqualFold(a.header.Get("Connection"), "close") {
					conn.close()
					conn = nil
				}
				continue
			}
			if conn == nil {
				conn = dial(t, e)
			}
			conn.write([]step{s}, nil, e.upstream)
		}
		conn.close()
		return out
	}
	return c.raw(t, dial(t, e), e.upstream, steps)
}

func (c *testCase) raw(t *testing.T, conn *connection, u *upstream, steps []step) []answered {
	t.Helper()
	defer conn.close()
	arrived := make(chan struct{}, len(c.verdicts)+1)
	conn.method = http.MethodPost
	if strings.HasPrefix(c.files["raw"], "HEAD ") {
		conn.method = http.MethodHead
	}
	conn.write(steps, arrived, u)
	var out []answered
	for len(out) < len(c.verdicts) {
		a := conn.read(t)
		out = append(out, a)
		arrived <- struct{}{}
		if a.closed {
			return out
		}
	}
	conn.finish()
	if rest, err := io.ReadAll(conn.reader); len(rest) > 0 {
		t.Errorf("more answers came: %.400q (%v)", rest, err)
	}
	return out
}

// connection is the client's side of one connection.
type connection struct {
	tcp    *net.TCPConn
	reader *bufio.Reader
	method string
	sent   chan struct{}
	begun  chan struct{} // has an element when the first answer's header section has come
}

func dial(t *testing.T, e *environment) *connection {
	t.Helper()
	conn, err := net.DialTimeout("tcp", e.url, patience)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &connection{tcp: conn.(*net.TCPConn), reader: bufio.NewReader(conn), begun: make(chan struct{}, 1)}
}

// write does the steps in a goroutine of its own, after those before them. A
// write that fails is no error: the server may have refused before the end.
func (c *connection) write(steps []step, arrived <-chan struct{}, u *upstream) {
	if len(steps) == 1 {
		c.method = steps[0].method
	}
	before := c.sent
	done := make(chan struct{})
	c.sent = done
	go func() {
		defer close(done)
		if before != nil {
			<-before
		}
		for _, s := range steps {
			switch {
			case s.pause > 0:
				time.Sleep(s.pause)
			case s.answer || s.asked || s.begun:
				event := arrived
				if s.asked {
					event = u.asked
				} else if s.begun {
					event = c.begun
				}
				select {
				case <-event:
				case <-time.After(patience):
					return
				}
			case s.gone:
				_ = c.tcp.Close()
			case s.eof:
				_ = c.tcp.CloseWrite()
			default:
				_, _ = c.tcp.Write(s.send)
			}
		}
	}()
}

func (c *connection) read(t *testing.T) answered {
	t.Helper()
	for {
		res, err := http.ReadResponse(c.reader, &http.Request{Method: c.method})
		if err != nil {
			if e := (net.Error)(nil); errors.As(err, &e) && e.Timeout() {
				t.Errorf("no answer within %v", patience)
			}
			return answered{closed: true, err: err}
		}
		if res.StatusCode == http.StatusContinue {
			continue
		}
		select {
		case c.begun <- struct{}{}:
		default:
		}
		a := answered{status: res.StatusCode, header: res.Header}
		if res.Close {
			a.header.Set("Connection", "close")
		}
		a.body, a.err = io.ReadAll(res.Body)
		return a
	}
}

// finish says that nothing more will be asked.
func (c *connection) finish() {
	<-c.sent
	_ = c.tcp.CloseWrite()
}

func (c *connection) close() {
	if c == nil {
		return
	}
	_ = c.tcp.Close()
	<-c.sent
}

// expand executes a section as a template.
func (c *testCase) expand(text string) (string, error) {
	if !strings.Contains(text, "{{") {
		return text, nil
	}
	t, err := template.New(c.name).Funcs(templateFuncs).Funcs(template.FuncMap{"file": func(name string) (string, error) {
		text, ok := c.files[name]
		if !ok {
			return "", fmt.Errorf("there is no section %q", name)
		}
		return c.expand(strings.TrimSuffix(text, "\n"))
	}}).Parse(text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, nil)
	return b.String(), err
}

// templateFuncs are, with what text/template has (printf, len, urlquery):
// repeat 3 "a"; seq 3 "a%d" " " (a0 a1 a2; the number may be used several times
// by %[1]d); json TEXT (quoted); sha256 TEXT (hex); b64 TEXT (raw URL); gzip,
// deflate, utf16 TEXT; token CLAIMS (signed, issued by testIssuer, valid for an
// hour); jwt HEADER CLAIMS (signed as they stand); forge HEADER CLAIMS (signed by
// a key that nobody trusts; FOREIGN in the header becomes its JWK); now SECONDS
// (Unix time, so many from now).
var templateFuncs = template.FuncMap{
	"file":   func(string) string { return "" },
	"repeat": func(n int, s string) string { return strings.Repeat(s, n) },
	"seq": func(n int, format, separator string) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = fmt.Sprintf(format, i)
		}
		return strings.Join(parts, separator)
	},
	"next": func(n int, format, separator string) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = fmt.Sprintf(format, i, i+1)
		}
		return strings.Join(parts, separator)
	},
	"json": func(s string) string {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		_ = e.Encode(s)
		return strings.TrimSpace(b.String())
	},
	"sha256": func(s string) string { d := sha256.Sum256([]byte(s)); return hex.EncodeToString(d[:]) },
	"b64":    func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"gzip": func(s string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = io.WriteString(w, s)
		_ = w.Close()
		return b.String()
	},
	"deflate": func(s string) string {
		var b bytes.Buffer
		w, _ := flate.NewWriter(&b, flate.BestCompression)
		_, _ = io.WriteString(w, s)
		_ = w.Close()
		return b.String()
	},
	"utf16": func(s string) string {
		b := []byte{0xff, 0xfe}
		for _, u := range utf16.Encode([]rune(s)) {
			b = binary.LittleEndian.AppendUint16(b, u)
		}
		return string(b)
	},
	"token": bearer,
	"jwt":   func(header, claims string) (string, error) { return testKey.Sign([]byte(header), []byte(claims)) },
	"forge": forge,
	"now":   func(offset int) int64 { return time.Now().Unix() + int64(offset) },
}

// forge signs by a key that the configuration does not have.
func forge(header, claims string) (string, error) {
	key, err := identitytest.NewKey("k1", "ES256")
	if err != nil {
		return "", err
	}
	public, err := key.JWK()
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(public)
	if err != nil {
		return "", err
	}
	return key.Sign([]byte(strings.Replace(header, "FOREIGN", string(text), 1)), []byte(claims))
}

const testIssuer = "https://issuer.test"

// testKey signs the tokens of the cases.
var testKey = func() *identitytest.Key {
	k, err := identitytest.NewKey("k1", "ES256")
	if err != nil {
		panic(err)
	}
	return k
}()

// bearer is a signed token with the claims; text that is no JSON object is sent
// as it is.
func bearer(claims string) string {
	all := map[string]any{"iss": testIssuer, "aud": "graphward", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	d := json.NewDecoder(strings.NewReader(claims))
	d.UseNumber()
	if d.Decode(&all) != nil {
		return claims
	}
	payload, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	token, err := testKey.Sign([]byte(`{"alg":"ES256","kid":"k1","typ":"JWT"}`), payload)
	if err != nil {
		panic(err)
	}
	return token
}
