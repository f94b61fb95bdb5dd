package gqlhttp

import (
	"math"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
)

// refusalOf is the refusal that tells e to the client.
func refusalOf(e *Error) *Refusal {
	return &Refusal{
		Problems: []Problem{{Code: e.Code, Message: e.Message}},
		Status:   e.Status,
		Allow:    e.Allow,
		Close:    e.Code == CodeRequestTimeout || e.Code == CodeBodyLimit,
	}
}

func TestStatusFor(t *testing.T) {
	for _, c := range []struct {
		code                    string
		graphql, json, verbatim int
	}{
		{"GRAPHQL_VALIDATION_FAILED", 400, 200, 400},
		{"DEPTH_LIMIT", 400, 200, 400},
		{"GRAPHQL_PARSE_FAILED", 400, 400, 400},
		{"CSRF", 400, 400, 400},
		{"UNAUTHENTICATED", 401, 401, 401},
		{"FORBIDDEN", 403, 200, 403},
		{"A_POLICYS_OWN", 403, 200, 403},
		{"PERSISTED_QUERY_NOT_FOUND", 404, 200, 404},
		{"NOT_FOUND", 404, 404, 404},
		{"BUDGET_EXCEEDED", 429, 429, 429},
		{"INTERNAL", 500, 500, 500},
		{"UPSTREAM_TIMEOUT", 504, 504, 504},
	} {
		got := []int{StatusFor(c.code, AcceptGraphQL, true), StatusFor(c.code, AcceptJSON, true), StatusFor(c.code, AcceptJSON, false)}
		if diff := cmp.Diff([]int{c.graphql, c.json, c.verbatim}, got); diff != "" {
			t.Errorf("%s: %s", c.code, diff)
		}
	}
}

// TestCodes holds the table to DESIGN.md section 7, row by row.
func TestCodes(t *testing.T) {
	type row struct {
		status             int
		legacy, reportable bool
	}
	want := map[string]row{}
	add := func(status int, legacy, reportable bool, names ...string) {
		for _, n := range names {
			want[n] = row{status, legacy, reportable}
		}
	}
	add(400, true, false, "GRAPHQL_VALIDATION_FAILED", "BAD_VARIABLES", "TOKEN_LIMIT", "FRAGMENT_LIMIT", "VALUE_LIMIT", "COMPLEXITY_LIMIT", "PERSISTED_ID_MISMATCH", "PERSISTED_QUERY_NOT_SUPPORTED", "SUBSCRIPTION_NOT_SUPPORTED")
	add(400, true, true, "DEPTH_LIMIT", "ALIAS_LIMIT", "ROOT_FIELD_LIMIT", "DIRECTIVE_LIMIT", "COST_LIMIT", "PAGE_SIZE")
	add(400, false, false, "BAD_REQUEST", "GRAPHQL_PARSE_FAILED", "CSRF", "BATCH_LIMIT")
	add(401, false, false, "UNAUTHENTICATED")
	add(403, true, true, "FORBIDDEN", "INTROSPECTION_DISABLED", "OPERATION_NOT_ALLOWED")
	add(404, true, false, "PERSISTED_QUERY_NOT_FOUND")
	add(404, false, false, "NOT_FOUND")
	add(405, false, false, "METHOD_NOT_ALLOWED")
	add(406, false, false, "NOT_ACCEPTABLE")
	add(408, false, false, "REQUEST_TIMEOUT")
	add(413, false, false, "BODY_LIMIT")
	add(414, false, false, "URL_LIMIT")
	add(415, false, false, "UNSUPPORTED_MEDIA_TYPE")
	add(431, false, false, "HEADER_LIMIT")
	add(429, false, true, "BUDGET_EXCEEDED", "CONCURRENCY_LIMIT")
	add(500, false, false, "INTERNAL", "POLICY_TIMEOUT")
	add(502, false, false, "UPSTREAM_ERROR")
	add(503, false, false, "OVERLOADED")
	add(504, false, false, "UPSTREAM_TIMEOUT")
	got := map[string]row{}
	for _, c := range Codes {
		got[c.Name] = row{c.Status, c.Legacy200, c.Reportable}
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(row{})); diff != "" {
		t.Error(diff)
	}
	if len(got) != len(Codes) {
		t.Error("a code is listed twice")
	}
}

func TestWriteRefusal(t *testing.T) {
	for _, c := range []struct {
		name   string
		f      *Refusal
		accept Accept
		legacy bool
		status int
		body   string
		want   []string
	}{
		{"plain", &Refusal{Problems: []Problem{{Code: "DEPTH_LIMIT", Message: "too <deep> & \"so\""}}}, AcceptGraphQL, true, 400,
			`{"errors":[{"message":"too <deep> & \"so\"","extensions":{"code":"DEPTH_LIMIT"}}]}`,
			[]string{"Cache-Control: no-store", "Content-Length: 82", "Content-Type: application/graphql-response+json; charset=utf-8", "X-Content-Type-Options: nosniff"}},
		{"legacy", &Refusal{Problems: []Problem{{Code: "DEPTH_LIMIT", Message: "m"}}}, AcceptJSON, true, 200,
			`{"errors":[{"message":"m","extensions":{"code":"DEPTH_LIMIT"}}]}`,
			[]string{"Cache-Control: no-store", "Content-Length: 64", "Content-Type: application/json; charset=utf-8", "X-Content-Type-Options: nosniff"}},
		{"APQ miss", &Refusal{Problems: []Problem{{Code: "PERSISTED_QUERY_NOT_FOUND", Message: "PersistedQueryNotFound"}}, Status: 200}, AcceptGraphQL, false, 200,
			`{"errors":[{"message":"PersistedQueryNotFound","extensions":{"code":"PERSISTED_QUERY_NOT_FOUND"}}]}`,
			[]string{"Cache-Control: no-store", "Content-Length: 99", "Content-Type: application/graphql-response+json; charset=utf-8", "X-Content-Type-Options: nosniff"}},
		{"budget", &Refusal{Problems: []Problem{{Code: "BUDGET_EXCEEDED", Message: "m"}}, RetryAfter: 1001 * time.Millisecond}, AcceptJSON, true, 429,
			`{"errors":[{"message":"m","extensions":{"code":"BUDGET_EXCEEDED"}}]}`,
			[]string{"Cache-Control: no-store", "Content-Length: 68", "Content-Type: application/json; charset=utf-8", "Retry-After: 2", "X-Content-Type-Options: nosniff"}},
		{"the longest wait", &Refusal{Problems: []Problem{{Code: "BUDGET_EXCEEDED", Message: "m"}}, RetryAfter: math.MaxInt64}, AcceptJSON, true, 429,
			`{"errors":[{"message":"m","extensions":{"code":"BUDGET_EXCEEDED"}}]}`,
			[]string{"Cache-Control: no-store", "Content-Length: 68", "Content-Type: application/json; charset=utf-8", "Retry-After: 9223372037", "X-Content-Type-Options: nosniff"}},
		{"challenge", &Refusal{Problems: []Problem{{Code: "UNAUTHENTICATED", Message: "m"}}, Challenge: `Bearer error="invalid_token"`}, AcceptJSON, true, 401,
			`{"errors":[{"message":"m","extensions":{"code":"UNAUTHENTICATED"}}]}`,
			[]string{"Cache-Control: no-store", "Content-Length: 68", "Content-Type: application/json; charset=utf-8", `Www-Authenticate: Bearer error="invalid_token"`, "X-Content-Type-Options: nosniff"}},
		{"no challenge", &Refusal{Problems: []Problem{{Code: "UNAUTHENTICATED", Message: "m"}}}, AcceptJSON, true, 401,
			`{"errors":[{"message":"m","extensions":{"code":"UNAUTHENTICATED"}}]}`,
			[]string{"Cache-Control: no-store", "Content-Length: 68", "Content-Type: application/json; charset=utf-8", "Www-Authenticate: Bearer", "X-Content-Type-Options: nosniff"}},
		{"method", refusalOf(MethodError("m", "POST")), AcceptJSON, true, 405,
			`{"errors":[{"message":"m","extensions":{"code":"METHOD_NOT_ALLOWED"}}]}`,
			[]string{"Allow: POST", "Cache-Control: no-store", "Content-Length: 71", "Content-Type: application/json; charset=utf-8", "X-Content-Type-Options: nosniff"}},
		{"body too large", refusalOf(refuse(CodeBodyLimit, "m")), AcceptJSON, true, 413,
			`{"errors":[{"message":"m","extensions":{"code":"BODY_LIMIT"}}]}`,
			[]string{"Cache-Control: no-store", "Connection: close", "Content-Length: 63", "Content-Type: application/json; charset=utf-8", "X-Content-Type-Options: nosniff"}},
		{"everything", &Refusal{Problems: []Problem{
			{Code: "A", Message: "m", Line: 3, Column: 4, Path: []string{"a", "b\"c"}, Details: []byte(`{"rule":"x"}`)},
			{Code: "B", Message: "n", Line: 1, Path: []string{}, Details: []byte(`{}`)},
		}}, AcceptGraphQL, true, 403,
			`{"errors":[{"message":"m","locations":[{"line":3,"column":4}],"path":["a","b\"c"],"extensions":{"code":"A","rule":"x"}},{"message":"n","locations":[{"line":1,"column":1}],"path":[],"extensions":{"code":"B"}}]}`,
			[]string{"Cache-Control: no-store", "Content-Length: 209", "Content-Type: application/graphql-response+json; charset=utf-8", "X-Content-Type-Options: nosniff"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			if err := WriteRefusal(w, httptest.NewRequest("POST", "/", nil), c.f, c.accept, c.legacy); err != nil {
				t.Fatal(err)
			}
			if w.Code != c.status || w.Body.String() != c.body {
				t.Errorf("%d %s", w.Code, w.Body.String())
			}
			if !jsontext.Value(w.Body.Bytes()).IsValid() {
				t.Error("the body is not JSON")
			}
			if diff := cmp.Diff(c.want, list(w.Header())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCloseIsForHTTP1(t *testing.T) {
	r := httptest.NewRequest("POST", "/", nil)
	r.ProtoMajor = 2
	w := httptest.NewRecorder()
	if err := WriteRefusal(w, r, refusalOf(refuse(CodeBodyLimit, "m")), AcceptJSON, true); err != nil {
		t.Fatal(err)
	}
	if w.Header().Get("Connection") != "" {
		t.Error("an HTTP/2 connection is ended for one stream's sake")
	}
}
