package gqlhttp

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// headers builds a header from "Name: value" lines, names as written.
func headers(lines ...string) http.Header {
	h := http.Header{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		h[name] = append(h[name], value)
	}
	return h
}

// list renders a header as sorted lines.
func list(h http.Header) []string {
	all := []string{}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, v := range h[name] {
			all = append(all, name+": "+v)
		}
	}
	return all
}

func TestRequestFilter(t *testing.T) {
	f := NewRequestFilter("X-User-Id", "traceparent")
	for _, c := range []struct {
		name string
		in   http.Header
		g    Guarded
		want []string
	}{
		{"what is the client's own", headers("Authorization: Bearer x", "Cookie: a=b", "X-Tenant: t", "Accept-Language: de", "Origin: https://x", "If-None-Match: \"x\"", "Accept-Encoding: gzip"), Guarded{},
			[]string{"Accept-Encoding: gzip", "Accept-Language: de", "Authorization: Bearer x", "Cookie: a=b", "If-None-Match: \"x\"", "Origin: https://x", "X-Tenant: t"}},
		{"hop by hop", headers("Connection: keep-alive", "Proxy-Connection: keep-alive", "Keep-Alive: timeout=5", "Proxy-Authenticate: Basic", "Proxy-Authorization: Basic x", "Te: trailers", "Trailer: X", "Transfer-Encoding: chunked", "Upgrade: h2c", "Http2-Settings: x", "A: 1"), Guarded{}, []string{"A: 1"}},
		{"nominated", headers("Connection: close, X-One ,x_two", "Connection: x-three", "X-One: 1", "X-Two: 2", "X-Three: 3", "X-Four: 4"), Guarded{}, []string{"X-Four: 4"}},
		{"own prefix", headers("X-Graphward-Subject: root", "X_graphward_subject: root", "X-Graphward_Roles: admin", "x-graphward-: x", "X-Graphwardx: ok"), Guarded{}, []string{"X-Graphwardx: ok"}},
		{"names that we set", headers("X-User-Id: 1", "X_User_Id: 1", "x-user-id: 1", "Traceparent: 00", "X-User-Ids: 1"), Guarded{}, []string{"X-User-Ids: 1"}},
		{"overrides", headers("X-Http-Method-Override: DELETE", "X_HTTP_METHOD_OVERRIDE: DELETE", "X-Method-Override: PUT", "X-Http-Method: PUT", "X-Original-Url: /admin", "X-Rewrite-Url: /admin", "X-Original-Uri: /admin", "X-Forwarded-Uri: /admin"), Guarded{}, []string{}},
		{"about the client's body", headers("Content-Length: 5", "Content-Type: application/json", "Content-Encoding: identity", "Content-Md5: x", "Digest: x", "Content-Digest: x", "Host: h", "Expect: 100-continue"), Guarded{}, []string{}},
		{"whole answer", headers("If-Match: x", "If-None-Match: x", "If-Modified-Since: x", "If-Unmodified-Since: x", "If-Range: x", "Range: bytes=0-1", "Ifx: 1"), Guarded{Whole: true}, []string{"Ifx: 1"}},
		{"plain answer", headers("Accept-Encoding: gzip, br"), Guarded{Plain: true}, []string{"Accept-Encoding: identity"}},
		{"plain answer, nothing asked", headers(), Guarded{Plain: true}, []string{"Accept-Encoding: identity"}},
		{"several values", headers("A: 1", "A: 2"), Guarded{}, []string{"A: 1", "A: 2"}},
		{"an empty name", headers(": 1"), Guarded{Whole: true}, []string{": 1"}},
		{"a very long name", http.Header{strings.Repeat("A", 5000): {"1"}}, Guarded{}, []string{strings.Repeat("A", 5000) + ": 1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dst := http.Header{}
			f.Apply(HeaderMap(dst), c.in, c.g)
			if diff := cmp.Diff(c.want, list(dst)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestNominationCannotTouchOurs is CVE-2021-33197.
func TestNominationCannotTouchOurs(t *testing.T) {
	dst := headers("X-Forwarded-For: 1.2.3.4", "X-Graphward-Subject: u")
	NewRequestFilter("X-Forwarded-For").Apply(HeaderMap(dst), headers("Connection: X-Forwarded-For, X-Graphward-Subject", "X-Forwarded-For: 6.6.6.6"), Guarded{})
	if diff := cmp.Diff([]string{"X-Forwarded-For: 1.2.3.4", "X-Graphward-Subject: u"}, list(dst)); diff != "" {
		t.Error(diff)
	}
}

func TestFiltersDoNotShareCapacity(t *testing.T) {
	src := http.Header{"A": append(make([]string, 0, 4), "1")}
	request, response := http.Header{}, http.Header{}
	NewRequestFilter().Apply(HeaderMap(request), src, Guarded{})
	NewResponseFilter().Apply(response, src, false)
	request.Add("A", "2")
	response.Add("A", "3")
	if diff := cmp.Diff([]string{"1", "2"}, request["A"]); diff != "" {
		t.Error(diff)
	}
}

func TestResponseFilter(t *testing.T) {
	f := NewResponseFilter("Server", "x-powered-by")
	for _, c := range []struct {
		name    string
		in      http.Header
		altered bool
		want    []string
	}{
		{"what is upstream's own", headers("Content-Type: application/json", "Content-Length: 5", "Etag: x", "Set-Cookie: a", "Set-Cookie: b", "Ratelimit: x"), false,
			[]string{"Content-Length: 5", "Content-Type: application/json", "Etag: x", "Ratelimit: x", "Set-Cookie: a", "Set-Cookie: b"}},
		{"removed by the config", headers("Server: x", "X-Powered-By: y", "X_Powered_By: z", "A: 1"), false, []string{"A: 1"}},
		{"hop by hop", headers("Connection: close, X-Hop", "X-Hop: 1", "Transfer-Encoding: chunked", "Trailer: X", "Keep-Alive: x"), false, []string{}},
		{"in our name", headers("X-Graphward-Decision: x"), false, []string{}},
		{"altered", headers("Content-Length: 5", "Etag: x", "Last-Modified: x", "Content-Md5: x", "Digest: x", "Repr-Digest: x", "Accept-Ranges: bytes", "Content-Type: application/json"), true, []string{"Content-Type: application/json"}},
	} {
		dst := http.Header{}
		f.Apply(dst, c.in, c.altered)
		if diff := cmp.Diff(c.want, list(dst)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestSetPrivate(t *testing.T) {
	h := headers("Cache-Control: public, max-age=60", "Etag: x", "Last-Modified: x", "Expires: x", "Age: 3", "Surrogate-Control: x", "A: 1")
	SetPrivate(h)
	if diff := cmp.Diff([]string{"A: 1", "Cache-Control: private, no-store"}, list(h)); diff != "" {
		t.Error(diff)
	}
}

func TestAddVary(t *testing.T) {
	for _, c := range []struct {
		old  []string
		want string
	}{
		{nil, "Authorization, Accept"},
		{[]string{"Accept"}, "Accept, Authorization"},
		{[]string{"Accept-Encoding, accept", "Origin"}, "Accept-Encoding, accept, Origin, Authorization"},
		{[]string{"*"}, "*"},
		{[]string{"authorization,accept"}, "authorization,accept"},
	} {
		h := http.Header{}
		if c.old != nil {
			h["Vary"] = c.old
		}
		AddVary(h, "Authorization", "Accept")
		if got := strings.Join(h["Vary"], " / "); got != c.want {
			t.Errorf("%q: %s", c.old, got)
		}
	}
}

func TestCORS(t *testing.T) {
	app := CORSOptions{Origins: []string{"https://app.example", "http://localhost:3000"}, Headers: []string{"apollographql-client-name", "content-type"}, Credentials: true}
	for _, c := range []struct {
		name    string
		o       CORSOptions
		request string
		want    []string // of the preflight or, for other methods, of the answer
	}{
		{"preflight", app, "OPTIONS https://app.example POST", []string{
			"Access-Control-Allow-Credentials: true", "Access-Control-Allow-Headers: Authorization, Content-Type, Apollographql-Client-Name",
			"Access-Control-Allow-Methods: GET, POST", "Access-Control-Allow-Origin: https://app.example", "Access-Control-Max-Age: 3600",
			"Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers"}},
		{"preflight of a stranger", app, "OPTIONS https://evil.example POST", []string{"Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers"}},
		{"prefix of an origin", app, "OPTIONS https://app.example.evil POST", []string{"Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers"}},
		{"other case", app, "OPTIONS https://APP.example POST", []string{"Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers"}},
		{"null origin", app, "OPTIONS null POST", []string{"Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers"}},
		{"anyone", CORSOptions{Origins: []string{"*"}, MaxAge: -1}, "OPTIONS https://x.example GET", []string{
			"Access-Control-Allow-Headers: Authorization, Content-Type", "Access-Control-Allow-Methods: GET, POST", "Access-Control-Allow-Origin: *",
			"Access-Control-Max-Age: 0", "Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers"}},
		{"nobody", CORSOptions{}, "OPTIONS https://app.example POST", []string{"Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers"}},
		{"upstream answers", CORSOptions{Upstream: true}, "OPTIONS https://app.example POST", nil},
		{"answer", app, "POST https://app.example", []string{"A: 1", "Access-Control-Allow-Credentials: true", "Access-Control-Allow-Origin: https://app.example", "Access-Control-Expose-Headers: Retry-After, RateLimit, RateLimit-Policy", "Vary: Accept, Origin"}},
		{"answer to a stranger", app, "POST https://evil.example", []string{"A: 1", "Vary: Accept, Origin"}},
		{"answer without origin", app, "POST", []string{"A: 1", "Vary: Accept, Origin"}},
		{"answer to anyone", CORSOptions{Origins: []string{"*"}}, "GET https://x.example", []string{"A: 1", "Access-Control-Allow-Origin: *", "Access-Control-Expose-Headers: Retry-After, RateLimit, RateLimit-Policy", "Vary: Accept"}},
		{"upstream's own are removed", CORSOptions{}, "POST https://x.example", []string{"A: 1", "Vary: Accept"}},
		{"upstream decorates", CORSOptions{Upstream: true}, "POST https://x.example", []string{"A: 1", "Access-Control-Allow-Origin: *", "Vary: Accept"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cors, err := NewCORS(c.o)
			if err != nil {
				t.Fatal(err)
			}
			parts := append(strings.Fields(c.request), "", "")
			r := httptest.NewRequest(parts[0], "/graphql", nil)
			if parts[1] != "" {
				r.Header.Set("Origin", parts[1])
			}
			if parts[2] != "" {
				r.Header.Set("Access-Control-Request-Method", parts[2])
			}
			w := httptest.NewRecorder()
			if parts[0] == "OPTIONS" {
				served := cors.ServePreflight(w, r)
				if served != (c.want != nil) || served && w.Code != 204 {
					t.Fatalf("served %v with %d", served, w.Code)
				}
				if served {
					if diff := cmp.Diff(c.want, list(w.Header())); diff != "" {
						t.Error(diff)
					}
				}
				return
			}
			h := headers("A: 1", "Access-Control-Allow-Origin: *", "Vary: Accept")
			cors.Decorate(h, r)
			if diff := cmp.Diff(c.want, list(h)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestServePreflightLeavesOthersAlone(t *testing.T) {
	cors, err := NewCORS(CORSOptions{Origins: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, lines := range [][]string{{}, {"Origin: https://x"}, {"Access-Control-Request-Method: POST"}} {
		r := httptest.NewRequest("OPTIONS", "/graphql", nil)
		r.Header = headers(lines...)
		if cors.ServePreflight(httptest.NewRecorder(), r) {
			t.Errorf("%q is a preflight", lines)
		}
	}
	var none *CORS
	h := headers("Access-Control-Allow-Origin: *")
	none.Decorate(h, httptest.NewRequest("POST", "/", nil))
	if len(h) != 0 {
		t.Errorf("without CORS: %v", h)
	}
}

func TestNewCORSRefuses(t *testing.T) {
	for _, c := range []struct {
		origins     []string
		credentials bool
		want        string
	}{
		{[]string{"*"}, true, `origin "*": cannot stand with credentials`},
		{[]string{"*", "https://a"}, false, `origin "*": must stand alone`},
		{[]string{"app.example"}, false, `origin "app.example": must be scheme://host or scheme://host:port`},
		{[]string{"null"}, false, `origin "null": must be scheme://host or scheme://host:port`},
		{[]string{"https://app.example/"}, false, `origin "https://app.example/": must be in lower case, without path, user or query`},
		{[]string{"https://u@app.example"}, false, `origin "https://u@app.example": must be in lower case, without path, user or query`},
		{[]string{"https://App.example"}, false, `origin "https://App.example": must be in lower case, without path, user or query`},
		{[]string{"https://*.example"}, false, `origin "https://*.example": wildcards in a host are not supported`},
		{[]string{"https://app.example:443"}, false, `origin "https://app.example:443": must leave the default port out`},
	} {
		_, err := NewCORS(CORSOptions{Origins: c.origins, Credentials: c.credentials, MaxAge: time.Second})
		if err == nil || err.Error() != c.want {
			t.Errorf("%q: %v", c.origins, err)
		}
	}
}

func TestWithoutNominated(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/graphql", strings.NewReader("{}"))
	r.Header = headers("Connection: keep-alive, AUTHORIZATION", "Connection: X_Tenant,, upgrade , content-type, x-forwarded-for,Accept",
		"Authorization: a", "X-Tenant: b", "Upgrade: websocket", "Content-Type: c", "X-Forwarded-For: d", "Accept: e", "Cookie: f")
	before := r.Header.Clone()
	got := WithoutNominated(r)
	want := before.Clone()
	delete(want, "Authorization")
	delete(want, "X-Tenant")
	if diff := cmp.Diff(want, got.Header); diff != "" || got.Body != r.Body || got.Context() != r.Context() {
		t.Error(diff)
	}
	if diff := cmp.Diff(before, r.Header); diff != "" {
		t.Errorf("the request was changed: %s", diff)
	}
	for _, connection := range []string{"close", "keep-alive", "TE", "upgrade, x-absent", ""} {
		r.Header.Set("Connection", connection)
		if WithoutNominated(r) != r {
			t.Errorf("%q: it is copied", connection)
		}
	}
	r.Header.Del("Connection")
	if n := testing.AllocsPerRun(100, func() { WithoutNominated(r) }); n > 0 {
		t.Errorf("%g allocations", n)
	}
}

// What a filter remembers of names must not change what becomes of them,
// whichever names share a place.
func TestFatesAreRemembered(t *testing.T) {
	names := rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{"Accept", "Cookie", "Range", "If-Match", "X-Forwarded-Host", "Te", "Etag", "X-Graphward-Subject", "X-Tenant", "Content_Length", "Content-Length", "A", ""}).Draw(t, "name") +
			rapid.StringMatching(`[A-Za-z_-]{0,2}`).Draw(t, "rest")
	})
	request, response := NewRequestFilter("Cookie"), NewResponseFilter("X-Tenant")
	rapid.Check(t, func(t *rapid.T) {
		name := names.Draw(t, "name")
		for range 2 {
			if got, want := request.known.of(name, request.fate), request.fate(appendFold(nil, name)); got != want {
				t.Fatalf("request: %q is %d, want %d", name, got, want)
			}
			if got, want := response.known.of(name, response.fate), response.fate(appendFold(nil, name)); got != want {
				t.Fatalf("response: %q is %d, want %d", name, got, want)
			}
		}
	})
}
