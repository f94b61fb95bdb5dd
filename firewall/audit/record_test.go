package audit

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
)

func full() *Record {
	return &Record{
		Time:           time.Date(2026, 3, 4, 5, 6, 7, 89_000, time.FixedZone("", 3600)),
		ID:             "0195-id",
		RequestID:      "req-1",
		TraceParent:    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		Protocol:       "http",
		ClientIP:       netip.MustParseAddr("2001:db8::1"),
		Subject:        "u1",
		Issuer:         "https://issuer.example.com",
		Method:         "jwt",
		Key:            "k1",
		Client:         "web",
		ClientVersion:  "1.2",
		Tier:           "gold",
		Operation:      Operation{Kind: "query", Name: "Me", Hash: "abcd", DocumentID: "doc-1", Registered: true},
		Shape:          Shape{Depth: 1, Aliases: 2, RootFields: 3, Directives: 4, Tokens: 5, Fragments: 6},
		Cost:           Cost{Estimated: true, Estimate: 12.5, Max: 5000, Settled: true, Actual: 0},
		Verdict:        Refused,
		Status:         403,
		Code:           "FORBIDDEN",
		Stage:          "authorize",
		Message:        "denied",
		Rules:          []Rule{{Coordinate: "User.email", Head: "allow.User.email", At: "a.rego:3", Decision: "deny"}, {Coordinate: "User.x", Decision: "deny"}},
		Reported:       []string{"COST_LIMIT"},
		Upstream:       Upstream{Status: 200, Bytes: 17, Duration: 3 * time.Millisecond},
		Duration:       4500 * time.Microsecond,
		Stages:         []StageTime{{"decode", 10 * time.Microsecond}, {"plan", 20 * time.Microsecond}},
		PolicyRevision: "p1",
		SchemaDigest:   "s1",
		Generation:     7,
		Aborted:        true,
		Panic:          true,
	}
}

// written returns the one line that r yields, decoded strictly.
func written(t *testing.T, r *Record) map[string]any {
	t.Helper()
	var out bytes.Buffer
	l := NewWriter(&out, Config{})
	if err := l.Write(r); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != 1 || !strings.HasSuffix(out.String(), "}\n") {
		t.Fatalf("%d line ends in %q", n, out.String())
	}
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v in %q", err, out.String())
	}
	return got
}

func TestEveryField(t *testing.T) {
	type object = map[string]any
	want := object{
		"time": "2026-03-04T04:06:07.000089Z", "decision_id": "0195-id", "request_id": "req-1",
		"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "protocol": "http",
		"client_ip": "2001:db8::1", "subject": "u1", "issuer": "https://issuer.example.com", "method": "jwt", "key": "k1",
		"client": "web", "client_version": "1.2", "tier": "gold",
		"operation": object{"kind": "query", "name": "Me", "hash": "abcd", "document_id": "doc-1", "registered": true},
		"shape":     object{"depth": 1.0, "aliases": 2.0, "root_fields": 3.0, "directives": 4.0, "tokens": 5.0, "fragments": 6.0},
		"cost":      object{"estimate": 12.5, "max": 5000.0, "actual": 0.0},
		"verdict":   "refused", "status": 403.0, "code": "FORBIDDEN", "stage": "authorize", "message": "denied",
		"rules": []any{
			object{"coordinate": "User.email", "rule": "allow.User.email", "at": "a.rego:3", "decision": "deny"},
			object{"coordinate": "User.x", "decision": "deny"},
		},
		"reported":    []any{"COST_LIMIT"},
		"upstream":    object{"status": 200.0, "bytes": 17.0, "duration_us": 3000.0},
		"duration_us": 4500.0, "stages": object{"decode": 10.0, "plan": 20.0},
		"policy_revision": "p1", "schema_digest": "s1", "generation": 7.0, "aborted": true, "panic": true,
	}
	if diff := cmp.Diff(want, written(t, full())); diff != "" {
		t.Error(diff)
	}
}

func TestAbsentFields(t *testing.T) {
	got := written(t, &Record{})
	for _, key := range []string{"time", "decision_id", "verdict", "duration_us"} {
		if _, there := got[key]; !there {
			t.Errorf("%s is missing", key)
		}
		delete(got, key)
	}
	if len(got) != 0 {
		t.Errorf("zero values are written: %v", got)
	}
}

func TestInfiniteCost(t *testing.T) {
	got := written(t, &Record{Cost: Cost{Estimated: true, Estimate: math.Inf(1)}})
	if diff := cmp.Diff(map[string]any{"estimate": "+Inf"}, got["cost"]); diff != "" {
		t.Error(diff)
	}
}

// TestTextsCannotDeceive: what a client chooses stays within its member and
// its line, and cannot redraw a terminal.
func TestTextsCannotDeceive(t *testing.T) {
	long := strings.Repeat("é", MaxText)
	for name, test := range map[string]struct{ in, want string }{
		"plain":                {"GetUser_1", "GetUser_1"},
		"a line break":         {"a\n{\"verdict\":\"allowed\"}", "a\uFFFD{\"verdict\":\"allowed\"}"},
		"a carriage return":    {"a\rb", "a\uFFFDb"},
		"quotes":               {`a","verdict":"allowed`, `a","verdict":"allowed`},
		"a backslash":          {`a\u0022b\`, `a\u0022b\`},
		"an escape sequence":   {"\x1b[2Ja", "\uFFFD[2Ja"},
		"NUL and DEL":          {"a\x00b\x7fc", "a\uFFFDb\uFFFDc"},
		"C1 controls":          {"a\u009bb", "a\uFFFDb"},
		"right to left":        {"a\u202eb\u2066c", "a\uFFFDb\uFFFDc"},
		"line separators":      {"a\u2028b\u2029c\u0085d", "a\uFFFDb\uFFFDc\uFFFDd"},
		"zero width":           {"a\u200bb\ufeffc", "a\uFFFDb\uFFFDc"},
		"invalid UTF-8":        {"a\xff\xc0b", "a\uFFFD\uFFFDb"},
		"other scripts":        {"größe 用户 😀", "größe 用户 😀"},
		"HTML":                 {"<script>", "<script>"},
		"as long as it may be": {strings.Repeat("a", MaxText), strings.Repeat("a", MaxText)},
		"longer":               {strings.Repeat("a", MaxText+1), strings.Repeat("a", MaxText-6) + "…"},
		"longer, not ASCII":    {long, long[:MaxText-6] + "…"},
	} {
		t.Run(name, func(t *testing.T) {
			got := written(t, &Record{Operation: Operation{Kind: "query", Name: test.in}, Subject: test.in, Code: test.in, Rules: []Rule{{Coordinate: test.in}}, Reported: []string{test.in}})
			for at, text := range map[string]any{
				"name": got["operation"].(map[string]any)["name"], "subject": got["subject"], "code": got["code"],
				"rule": got["rules"].([]any)[0].(map[string]any)["coordinate"], "reported": got["reported"].([]any)[0],
			} {
				if text != test.want {
					t.Errorf("%s: got %q, not %q", at, text, test.want)
				}
			}
		})
	}
}

func FuzzClean(f *testing.F) {
	for _, seed := range []string{"", "a", "\n", strings.Repeat("é", 200), "\xff"} {
		f.Add(seed, 64)
	}
	f.Fuzz(func(t *testing.T, text string, limit int) {
		if limit < 16 || limit > 4096 {
			return
		}
		got := clean(text, limit)
		if len(got) > limit+2*len("\uFFFD") || !utf8.ValidString(got) {
			t.Fatalf("%q of %q is %d bytes of at most %d", got, text, len(got), limit)
		}
		for _, r := range got {
			if r != ' ' && !unicode.IsGraphic(r) {
				t.Fatalf("%q has %q", got, r)
			}
		}
	})
}

func TestManyRules(t *testing.T) {
	got := written(t, &Record{Rules: make([]Rule, MaxRules+23)})
	if n := len(got["rules"].([]any)); n != MaxRules || got["rules_omitted"] != 23.0 {
		t.Errorf("%d rules and %v omitted", n, got["rules_omitted"])
	}
}

func TestNewID(t *testing.T) {
	pattern := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for range 10_000 {
		id := NewID()
		if !pattern.MatchString(id) || seen[id] {
			t.Fatalf("%q", id)
		}
		seen[id] = true
	}
	synctest.Test(t, func(t *testing.T) {
		first := NewID()
		time.Sleep(time.Millisecond)
		if second := NewID(); second <= first {
			t.Errorf("%s is not after %s", second, first)
		}
		if want := fmt.Sprintf("%012x", time.Now().UnixMilli()-1); strings.ReplaceAll(first, "-", "")[:12] != want {
			t.Errorf("the time of %s is not %s", first, want)
		}
	})
}
