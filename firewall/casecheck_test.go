package firewall_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
)

func (c *testCase) run(t *testing.T, e *environment) {
	if e.url == "" {
		t.Fatal("the firewall did not start")
	}
	e.upstream.prepare(t, c)
	before := e.records.count()
	answers := c.exchange(t, e)
	c.judge(t, answers)
	c.forwarded(t, e.upstream)
	if len(answers) > 0 && c.files["response"] != "" {
		last := answers[len(answers)-1]
		checkHeaders(t, "response", c.files["response"], last.header)
		got := strings.ReplaceAll(string(last.body), e.dir+"/", "") // places of rules
		got = decisionID.ReplaceAllString(got, `"decision_id":"*"`)
		if _, body, ok := strings.Cut(c.files["response"], "\n\n"); ok && strings.TrimSuffix(body, "\n") != got {
			t.Errorf("body: %s", cmp.Diff(strings.TrimSuffix(body, "\n"), got))
		}
	}
	if e.records != nil {
		c.audited(t, e.records, before, len(answers))
	}
	c.lacks(t, answers, e, before)
}

var decisionID = regexp.MustCompile(`"decision_id":"[0-9a-f-]{36}"`)

// lacks looks for the texts that must stand in no answer, header or record.
func (c *testCase) lacks(t *testing.T, answers []answered, e *environment, before int) {
	t.Helper()
	for _, planted := range strings.Fields(c.files["lacks"]) {
		if !strings.Contains(c.files["answer"]+c.files["answer.raw"], planted) && !strings.Contains(c.files["policy.rego"], planted) {
			t.Errorf("nobody says %s", planted)
		}
		for i := range answers {
			if strings.Contains(string(answers[i].body), planted) || strings.Contains(fmt.Sprint(answers[i].header), planted) {
				t.Errorf("%s stands in the answer: %v %v", planted, answers[i].header, &answers[i])
			}
		}
		if e.records == nil {
			continue
		}
		for _, line := range e.records.lines()[before:] {
			if strings.Contains(line, planted) {
				t.Errorf("%s stands in the record: %s", planted, line)
			}
		}
	}
}

// unserved checks that the configuration is refused, and why.
func (c *testCase) unserved(t *testing.T, start driver) {
	dir := t.TempDir()
	lay(t, dir, c.setup, "127.0.0.1:1")
	address, err := start(t, dir, &environment{})
	switch {
	case err == nil:
		t.Errorf("it serves at %s", address)
	case !strings.Contains(err.Error(), c.verdicts[0].problem):
		t.Errorf("got %v, want %q", err, c.verdicts[0].problem)
	}
}

// judge compares the answers with the verdicts.
func (c *testCase) judge(t *testing.T, answers []answered) {
	t.Helper()
	judged := answers
	if c.last && len(answers) > 0 {
		judged = answers[len(answers)-1:]
	}
	if len(judged) != len(c.verdicts) {
		t.Fatalf("got %d answers, want %d: %v", len(judged), len(c.verdicts), answers)
	}
	for i, v := range c.verdicts {
		v.check(t, &judged[i])
	}
}

func (v *verdict) check(t *testing.T, a *answered) {
	t.Helper()
	if a.closed != (v.word == "closed") || a.status != v.status {
		t.Errorf("got %v, want %s %s %d", a, v.word, v.code, v.status)
		return
	}
	if whole := a.err == nil; v.word != "closed" && v.word != "answered" && whole == (v.word == "cut") {
		t.Errorf("got %v, want %s", a, v.word)
	}
	switch v.word {
	case "refused":
		if got := codeOf(a.body); got != v.code {
			t.Errorf("got %v, want %s", a, v.code)
		}
		if a.header.Get("Cache-Control") != "no-store" || a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("a refusal may be stored or sniffed: %v", a.header)
		}
	case "batch":
		var elements []json.RawMessage
		if err := json.Unmarshal(a.body, &elements); err != nil {
			t.Errorf("%v: %v", a, err)
		}
		var codes []string
		for _, e := range elements {
			codes = append(codes, codeOf(e))
		}
		if !slices.Equal(codes, v.elements) {
			t.Errorf("got elements %q, want %q", codes, v.elements)
		}
	case "answered":
		if jsontext.Value(a.body).IsValid() && len(a.body) > 0 {
			t.Errorf("net/http's own answer was expected: %v", a)
		}
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

// forwarded checks what upstream got: as often as the verdicts say, and always
// in the one form that the firewall writes.
func (c *testCase) forwarded(t *testing.T, u *upstream) {
	t.Helper()
	want := 0
	for _, v := range c.verdicts {
		want += v.forwarded
	}
	calls := u.taken(want)
	if len(calls) != want {
		t.Errorf("upstream was asked %d times, want %d: %v", len(calls), want, calls)
	}
	for i := range calls {
		calls[i].check(t)
	}
	text, ok := c.files["upstream"]
	if !ok || len(calls) == 0 {
		return
	}
	last := &calls[len(calls)-1]
	head, body, _ := strings.Cut("\n"+text, "\n{")
	checkHeaders(t, "upstream", head, last.header)
	if body != "" && strings.TrimSpace("{"+body) != last.body {
		t.Errorf("upstream got another body: %s", cmp.Diff(strings.TrimSpace("{"+body), last.body))
	}
}

func (u *upstreamCall) check(t *testing.T) {
	t.Helper()
	if u.method == http.MethodOptions {
		return // a preflight that passes through
	}
	if u.method != http.MethodPost || u.target != "/graphql" || len(u.encoding) > 0 {
		t.Errorf("upstream got %s %s %v", u.method, u.target, u.encoding)
	}
	for name := range u.header {
		if slices.Contains(connectionFields, name) {
			t.Errorf("upstream got %s: %q", name, u.header[name])
		}
	}
	for _, name := range []string{"Content-Type", "Content-Length", "Accept"} {
		if len(u.header[name]) != 1 {
			t.Errorf("upstream got %s %q", name, u.header[name])
		}
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(u.body), &members); err != nil || !jsontext.Value(u.body).IsValid() {
		t.Errorf("upstream got a body that is not strict JSON: %q", u.body)
	}
	for name := range members {
		if !slices.Contains([]string{"query", "operationName", "variables", "extensions"}, name) {
			t.Errorf("upstream got a member %q", name)
		}
	}
}

var connectionFields = []string{"Connection", "Proxy-Connection", "Keep-Alive", "Te", "Trailer", "Upgrade", "Expect",
	"Proxy-Authorization", "Transfer-Encoding", "Http2-Settings"}

func checkHeaders(t *testing.T, what, head string, got http.Header) {
	t.Helper()
	head, _, _ = strings.Cut(head, "\n\n")
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

// audited waits for the records, which may come after the answer: one at
// least for each judged request, and compares the last.
func (c *testCase) audited(t *testing.T, records *recorder, before, answers int) {
	t.Helper()
	want := 0
	for _, v := range c.verdicts {
		if v.word != "answered" && v.word != "closed" && v.status != http.StatusNoContent {
			want += max(1, len(v.elements))
		}
	}
	expected := want
	if c.last { // the requests before the last leave records too, and a record may come after its answer
		expected = max(want, answers)
	}
	lines := records.wait(before + expected)[before:]
	if len(lines) < want {
		t.Errorf("%d audit records, want %d", len(lines), want)
	}
	text, ok := c.files["audit"]
	if !ok || len(lines) == 0 {
		return
	}
	var record, members map[string]any
	if err := json.Unmarshal([]byte(text), &members); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &record); err != nil {
		t.Fatal(err)
	}
	for name, value := range members {
		if diff := cmp.Diff(value, record[name]); diff != "" {
			t.Errorf("audit %s: %s", name, diff)
		}
	}
}
