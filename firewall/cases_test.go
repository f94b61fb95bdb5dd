package firewall_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/configfile"
)

// A case is one file. The verdict is written by hand:
//
//	verdict   "refused CODE STATUS" or "forwarded STATUS"; forwarded N times: "forwarded 200 x2"
//	request   request line, headers, blank line, body; several are separated by a line "----", the last one's verdict counts
//	config, schema.graphql, policy.rego, manifest.json: in place of testdata/base's; "config+" lines are added to the base's
//	as        claims of the caller as JSON; without it the caller is anonymous
//	answer    what upstream answers: status line, headers, blank line, body
//	response  lines "Header: value" that must be there, "!Header" that must not; after a blank line the exact body
//	upstream  JSON equal to the body that upstream got last; lines above it "Header: value" or "!Header"
//	audit     JSON members that the last record must have
func TestCases(t *testing.T)   { runCases(t, "testdata/cases") }
func TestAttacks(t *testing.T) { runCases(t, "testdata/attacks") }

func runCases(t *testing.T, dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in %s: %v", dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			newCase(t, archive).run(t)
		})
	}
}

type testCase struct {
	files    map[string]string
	firewall *firewall.Firewall
	upstream *upstream
	records  *recorder
}

// upstream answers what the case says and remembers what it got.
type upstream struct {
	mu      sync.Mutex
	answer  string
	headers http.Header
	bodies  []string
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	u.mu.Lock()
	u.bodies = append(u.bodies, string(body))
	u.headers = r.Header.Clone()
	u.mu.Unlock()
	res, err := http.ReadResponse(bufio.NewReader(strings.NewReader("HTTP/1.1 "+u.answer)), r)
	if err != nil {
		panic(err)
	}
	for name, values := range res.Header {
		w.Header()[name] = values
	}
	out, _ := io.ReadAll(res.Body)
	w.WriteHeader(res.StatusCode)
	_, _ = w.Write(out)
}

// recorder is an audit sink in memory.
type recorder struct {
	mu   sync.Mutex
	text bytes.Buffer
	log  *audit.Log
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func newCase(t *testing.T, archive *txtar.Archive) *testCase {
	t.Helper()
	c := &testCase{files: map[string]string{}, upstream: &upstream{}, records: &recorder{}}
	for _, f := range archive.Files {
		c.files[f.Name] = string(f.Data)
	}
	c.upstream.answer = "200 OK\r\nContent-Type: application/json\r\n\r\n{\"data\":{\"ok\":true}}"
	if a, ok := c.files["answer"]; ok {
		head, body, _ := strings.Cut(a, "\n\n")
		c.upstream.answer = strings.ReplaceAll(strings.TrimSpace(head), "\n", "\r\n") + "\r\n\r\n" + strings.TrimSuffix(body, "\n")
	}
	dir := t.TempDir()
	base, err := filepath.Glob("testdata/base/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range base {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		c.lay(t, dir, filepath.Base(name), string(text))
	}
	for name, text := range c.files {
		switch name {
		case "config":
			c.lay(t, dir, "graphward.yaml", text)
		case "config+":
			text, err := merge("testdata/base/graphward.yaml", text)
			if err != nil {
				t.Fatal(err)
			}
			c.lay(t, dir, "graphward.yaml", text)
		default:
			if strings.Contains(name, ".") {
				c.lay(t, dir, name, text)
			}
		}
	}
	file, err := configfile.Load(filepath.Join(dir, "graphward.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c.records.log = audit.NewWriter(c.records, audit.Config{})
	c.firewall, err = firewall.New(context.Background(), file.Config,
		firewall.WithHandler(c.upstream), firewall.WithAuditSink(c.records.log), firewall.WithAuthenticator(c.authenticator(t, &file.Config.Identity)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.firewall.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *testCase) lay(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// merge puts the keys of text in place of the base's.
func merge(base, text string) (string, error) {
	old, err := os.ReadFile(base)
	if err != nil {
		return "", err
	}
	var out []string
	for line := range strings.Lines(string(old)) {
		key, _, _ := strings.Cut(line, ":")
		if !strings.HasPrefix(text, key+":") && !strings.Contains(text, "\n"+key+":") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "") + text, nil
}

func (c *testCase) run(t *testing.T) {
	server := httptest.NewServer(c.firewall)
	defer server.Close()
	var res *http.Response
	var body []byte
	for _, text := range strings.Split(c.files["request"], "\n----\n") {
		res, body = send(t, server, text)
	}
	if err := c.records.log.Close(); err != nil {
		t.Fatal(err)
	}
	c.verdict(t, res, body)
	c.response(t, res, body)
	c.got(t)
	c.audited(t)
}

// send writes a request as it stands in the case, so that also what no client
// library would send can be sent.
func send(t *testing.T, server *httptest.Server, text string) (*http.Response, []byte) {
	t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	body = strings.TrimSuffix(body, "\n")
	lines := strings.Split(strings.TrimSpace(head), "\n")
	method, target, _ := strings.Cut(lines[0], " ")
	req, err := http.NewRequest(method, server.URL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if path, query, ok := strings.Cut(target, "?"); ok {
		req.URL.Path, req.URL.RawQuery = path, query
	} else {
		req.URL.Path = target
	}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		req.Header[http.CanonicalHeaderKey(name)] = append(req.Header[http.CanonicalHeaderKey(name)], strings.TrimSpace(value))
	}
	res, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, out
}

func (c *testCase) verdict(t *testing.T, res *http.Response, body []byte) {
	t.Helper()
	words := strings.Fields(c.files["verdict"])
	if len(words) < 2 {
		t.Fatal("the case has no verdict")
	}
	forwarded := len(c.upstream.bodies)
	switch words[0] {
	case "refused":
		code, status := words[1], words[2]
		if strconv.Itoa(res.StatusCode) != status || codeOf(body) != code {
			t.Errorf("got status %d, code %q, want %s %s; body %s", res.StatusCode, codeOf(body), status, code, body)
		}
		if len(words) < 4 && forwarded != 0 {
			t.Errorf("upstream was touched: %q", c.upstream.bodies)
		}
		if res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("a refusal may be stored: Cache-Control %q", res.Header.Get("Cache-Control"))
		}
	case "forwarded":
		want := 1
		if len(words) > 2 {
			_, _ = fmt.Sscanf(words[2], "x%d", &want)
		}
		if strconv.Itoa(res.StatusCode) != words[1] || forwarded != want {
			t.Errorf("got status %d after %d forwarded, want %s; body %s", res.StatusCode, forwarded, c.files["verdict"], body)
		}
	default:
		t.Fatalf("verdict %q", words[0])
	}
}

func codeOf(body []byte) string {
	var answer struct {
		Errors []struct {
			Extensions struct {
				Code string `json:"code"`
			} `json:"extensions"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &answer) != nil || len(answer.Errors) == 0 {
		return ""
	}
	return answer.Errors[0].Extensions.Code
}

func (c *testCase) response(t *testing.T, res *http.Response, body []byte) {
	t.Helper()
	want, ok := c.files["response"]
	if !ok {
		return
	}
	head, wantBody, hasBody := strings.Cut(want, "\n\n")
	checkHeaders(t, "response", head, res.Header)
	if hasBody && strings.TrimSuffix(wantBody, "\n") != string(body) {
		t.Errorf("body: %s", cmp.Diff(strings.TrimSuffix(wantBody, "\n"), string(body)))
	}
}

func checkHeaders(t *testing.T, what, head string, got http.Header) {
	t.Helper()
	for line := range strings.Lines(head) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "!"); ok {
			if values, there := got[http.CanonicalHeaderKey(name)]; there {
				t.Errorf("%s has header %s: %q", what, name, values)
			}
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		if have := strings.Join(got.Values(name), ", "); have != strings.TrimSpace(value) {
			t.Errorf("%s header %s: got %q, want %q", what, name, have, strings.TrimSpace(value))
		}
	}
}

func (c *testCase) got(t *testing.T) {
	t.Helper()
	want, ok := c.files["upstream"]
	if !ok {
		return
	}
	if len(c.upstream.bodies) == 0 {
		t.Error("upstream was not touched")
		return
	}
	head, body, _ := strings.Cut("\n"+want, "\n{")
	checkHeaders(t, "upstream", head, c.upstream.headers)
	last := c.upstream.bodies[len(c.upstream.bodies)-1]
	if body != "" && strings.TrimSpace("{"+body) != last {
		t.Errorf("upstream got another body: %s", cmp.Diff(strings.TrimSpace("{"+body), last))
	}
}

func (c *testCase) audited(t *testing.T) {
	t.Helper()
	if strings.HasPrefix(c.files["verdict"], "forwarded 204") {
		return // a preflight is no operation
	}
	lines := strings.Split(strings.TrimSpace(c.records.text.String()), "\n")
	var record, want map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &record); err != nil {
		t.Errorf("the last audit record %q: %v", lines[len(lines)-1], err)
		return
	}
	text, ok := c.files["audit"]
	if !ok {
		return
	}
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		t.Fatal(err)
	}
	for name, value := range want {
		if diff := cmp.Diff(value, record[name]); diff != "" {
			t.Errorf("audit %s: %s", name, diff)
		}
	}
}
