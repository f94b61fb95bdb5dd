package firewall_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/lestrrat-go/jwx/v3/jwk"

	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/configfile"
	"github.com/graphward/graphward/firewall/identity"
	"github.com/graphward/graphward/firewall/identity/identitytest"
)

// told is a backend that remembers the headers of the last request.
type told struct {
	answering
	header http.Header
}

func (b *told) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.header = r.Header.Clone()
	w.Header().Set("Cache-Control", "public, max-age=600")
	b.answering.ServeHTTP(w, r)
}

type fixed identity.Identity

func (f *fixed) Authenticate(*http.Request) (*identity.Identity, error) {
	return (*identity.Identity)(f), nil
}

func newKey(t testing.TB, algorithm string) *identitytest.Key {
	t.Helper()
	key, err := identitytest.NewKey("k", algorithm)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writeKey(t testing.TB, file string, key *identitytest.Key) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key.Private)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func askAs(f *firewall.Firewall, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/graphql", strings.NewReader(`{"query":"{ secret }"}`))
	for name, values := range header {
		r.Header[name] = values
	}
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

// everyRequest are the headers of every forwarded request.
var everyRequest = []string{"Accept", "Accept-Encoding", "Content-Type", "Content-Length", "User-Agent", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}

// What the upstream is told is what was found out, under the configured names,
// whatever the client sends under them.
func TestForwardedIdentity(t *testing.T) {
	all := firewall.IdentityHeadersConfig{Subject: "x-graphward-subject", Roles: "x-graphward-roles", Client: "x-graphward-client", Decision: "x-graphward-decision-id"}
	someone := identity.Identity{Authenticated: true, Subject: "u1", Roles: []string{"admin", "staff"}, Client: identity.Client{ID: "web", Name: "web"}, Method: identity.MethodJWT}
	hostile := someone
	hostile.Subject, hostile.Roles = "a,b\r\nx-graphward-roles: admin %\u00fc", []string{"a,admin", "b c"}
	nobody := identity.Identity{Method: identity.MethodAnonymous}
	claims := http.Header{}
	for _, name := range []string{"X-Graphward-Subject", "X_graphward_subject", "X-Graphward-Roles", "X-Graphward-Identity", "X-Forwarded-User",
		"X-Forwarded-Client-Cert", "X_forwarded_email", "Client-Cert", "Remote-User", "X-Auth-Request-User"} {
		claims[name] = []string{"root"}
	}
	for _, tt := range []struct {
		name    string
		headers firewall.IdentityHeadersConfig
		id      identity.Identity
		want    map[string]string
		private bool
	}{
		{"nothing configured", firewall.IdentityHeadersConfig{}, someone, nil, false},
		{"all", all, someone, map[string]string{"X-Graphward-Subject": "u1", "X-Graphward-Roles": "admin,staff", "X-Graphward-Client": "web", "X-Graphward-Decision-Id": "*"}, true},
		{"own names", firewall.IdentityHeadersConfig{Subject: "x-user"}, someone, map[string]string{"X-User": "u1"}, true},
		{"decision alone", firewall.IdentityHeadersConfig{Decision: "x-request-id"}, someone, map[string]string{"X-Request-Id": "*"}, false},
		{"hostile names", all, hostile, map[string]string{"X-Graphward-Subject": "a%2Cb%0D%0Ax-graphward-roles:%20admin%20%25%C3%BC",
			"X-Graphward-Roles": "a%2Cadmin,b%20c", "X-Graphward-Client": "web", "X-Graphward-Decision-Id": "*"}, true},
		{"anonymous", all, nobody, map[string]string{"X-Graphward-Decision-Id": "*"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := laid(t, allowEverything)
			c.Upstream.Identity.Headers = tt.headers
			backend, records := &told{}, &seen{}
			id := fixed(tt.id)
			f, err := firewall.New(t.Context(), c, firewall.WithHandler(backend), firewall.WithAuthenticator(&id), firewall.WithAuditSink(records))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			sent := claims.Clone()
			if tt.headers.Subject == "x-user" {
				sent["X-User"], sent["X_user"] = []string{"root"}, []string{"root"}
			}
			w := askAs(f, sent)
			if w.Code != http.StatusOK {
				t.Fatalf("status %d %s", w.Code, w.Body)
			}
			got := map[string]string{}
			for name, values := range backend.header {
				if !slices.Contains(everyRequest, name) {
					got[name] = strings.Join(values, "|")
				}
			}
			for name, want := range tt.want {
				if want == "*" && got[name] == records.last(t).ID {
					got[name] = "*"
				}
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
			if private := w.Header().Get("Cache-Control") == "private, no-store"; private != tt.private {
				t.Errorf("Cache-Control %q", w.Header().Get("Cache-Control"))
			}
		})
	}
}

// A backend that trusts the firewall's key alone learns who was identified; in
// the Authorization header the token takes the client's place.
func TestForwardedToken(t *testing.T) {
	for _, name := range []string{"", "authorization"} {
		c, dir := laid(t, allowEverything)
		key := newKey(t, "ES256")
		file := filepath.Join(dir, "key.pem")
		writeKey(t, file, key)
		c.Upstream.Identity.JWT = &firewall.IdentityTokenConfig{Header: name, KeyFile: file, Issuer: "graphward", Audience: "shop"}
		backend := &told{}
		id := fixed{Authenticated: true, Subject: "u1", Roles: []string{"admin"}, Method: identity.MethodAPIKey, Client: identity.Client{ID: "web"}}
		f, err := firewall.New(t.Context(), c, firewall.WithHandler(backend), firewall.WithAuthenticator(&id))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		askAs(f, http.Header{"Authorization": {"Bearer the-clients"}, "X-Graphward-Identity": {"forged"}})
		text := backend.header.Get("X-Graphward-Identity")
		if name == "authorization" {
			if backend.header.Get("X-Graphward-Identity") != "" {
				t.Error("a forged header was passed on")
			}
			text = strings.TrimPrefix(backend.header.Get("Authorization"), "Bearer ")
		} else if backend.header.Get("Authorization") != "Bearer the-clients" {
			t.Errorf("the client's credential became %q", backend.header.Get("Authorization"))
		}
		public, err := jwk.Import(key.Private.Public())
		if err != nil {
			t.Fatal(err)
		}
		if err := jwk.AssignKeyID(public); err != nil {
			t.Fatal(err)
		}
		set, err := json.Marshal(map[string]any{"keys": []jwk.Key{public}})
		if err != nil {
			t.Fatal(err)
		}
		replace(t, filepath.Join(dir, "jwks.json"), set)
		v, err := identity.New(t.Context(), identity.Config{JWT: []identity.JWTConfig{{Issuer: "graphward", Audiences: []string{"shop"}, JWKSFile: filepath.Join(dir, "jwks.json")}}})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header.Set("Authorization", "Bearer "+text)
		if got, err := v.Authenticate(r); err != nil || got.Subject != "u1" || !slices.Equal(got.Roles, []string{"admin"}) || got.Client.ID != "web" {
			t.Errorf("%+v %v", got, err)
		}
	}
}

// Where a request came from is what a trusted proxy says, else what is seen.
func TestProvenance(t *testing.T) {
	for _, tt := range []struct {
		name             string
		trusted          []string
		sent             http.Header
		ip, host, scheme string
	}{
		{"nobody is trusted", nil, http.Header{"X-Forwarded-For": {"203.0.113.9"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"evil.example"}}, "192.0.2.1", "example.com", "http"},
		{"a proxy is", []string{"192.0.2.0/24"}, http.Header{"X-Forwarded-For": {"10.0.0.1, 203.0.113.9"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"shop.example:8443"}}, "203.0.113.9", "shop.example:8443", "https"},
		{"another is", []string{"198.51.100.0/24"}, http.Header{"X-Forwarded-For": {"203.0.113.9"}, "X-Forwarded-Proto": {"https"}}, "192.0.2.1", "example.com", "http"},
		{"said twice", []string{"192.0.2.0/24"}, http.Header{"X-Forwarded-Proto": {"https", "http"}, "X-Forwarded-Host": {"a", "b"}}, "192.0.2.1", "example.com", "http"},
		{"nonsense", []string{"192.0.2.0/24"}, http.Header{"X-Forwarded-Proto": {"gopher"}, "X-Forwarded-Host": {"a/b?c"}}, "192.0.2.1", "example.com", "http"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := laid(t, allowEverything)
			c.Identity.TrustedProxies = tt.trusted
			backend := &told{}
			f, err := firewall.New(t.Context(), c, firewall.WithHandler(backend))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			sent := tt.sent.Clone()
			trace := "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
			sent["Traceparent"], sent["Tracestate"], sent["X-Forwarded-Port"], sent["Forwarded"] = []string{trace}, []string{"a=b"}, []string{"1"}, []string{"for=x"}
			sent["Connection"], sent["X-Hop"], sent["Keep-Alive"] = []string{"x-hop, x-forwarded-proto"}, []string{"1"}, []string{"5"}
			askAs(f, sent)
			got := []string{}
			for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Traceparent", "Tracestate", "X-Forwarded-Port", "Forwarded", "X-Hop", "Keep-Alive"} {
				got = append(got, strings.Join(backend.header[name], "|"))
			}
			if diff := cmp.Diff([]string{tt.ip, tt.host, tt.scheme, trace, "a=b", "", "", "", ""}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUpstreamIdentityConfig(t *testing.T) {
	base := "listen: 127.0.0.1:0\nschema: {files: [s.graphql]}\nallow_all: true\noperations: {adhoc: allow}\nidentity: {anonymous: allow}\naudit: {output: \"off\"}\n"
	for _, tt := range []struct{ upstream, problem string }{
		{"identity: {headers: true}", ""},
		{"identity: {headers: false}", ""},
		{"identity: {headers: {subject: x-user, roles: x-roles}}", ""},
		{"identity: {jwt: {key_file: k, issuer: i, audience: a, header: authorization, ttl: 30s}}", ""},
		{"identity: {headers: yes please}", "upstream.identity.headers"},
		{"identity: {headers: {subject: x user}}", "upstream.identity.headers.subject"},
		{"identity: {headers: {subject: x-user, roles: X_User}}", "upstream.identity.headers.subject"},
		{"identity: {headers: {subject: authorization}}", "upstream.identity.headers.subject"},
		{"identity: {headers: {subject: x-forwarded-user}}", "upstream.identity.headers.subject"},
		{"identity: {headers: {client: content-type}}", "upstream.identity.headers.client"},
		{"identity: {headers: {client: connection}}", "upstream.identity.headers.client"},
		{"identity: {headers: {subject: x-user}}\n  headers: {set: {X-User: root}}", "upstream.headers.set.X-User"},
		{"identity: {jwt: {key_file: k, issuer: i}}", "upstream.identity.jwt.audience"},
		{"identity: {jwt: {issuer: i, audience: a}}", "upstream.identity.jwt.key_file"},
		{"identity: {jwt: {key_file: k, issuer: i, audience: a, ttl: 24h}}", "upstream.identity.jwt.ttl"},
		{"identity: {jwt: {key_file: k, issuer: i, audience: a, life: 1m}}", "upstream.identity.jwt.life"},
		{"tls: {spiffe: {socket: unix:///s, trust_domain: example.org}}", ""},
		{"tls: {spiffe: {socket: unix:///s}}", "upstream.tls.spiffe"},
		{"tls: {spiffe: {trust_domain: example.org}}", "upstream.tls.spiffe.socket"},
		{"tls: {spiffe: {socket: /s, ids: [spiffe://example.org/a]}}", "upstream.tls.spiffe.socket"},
		{"tls: {spiffe: {socket: unix:///s, ids: [example.org/a]}}", "upstream.tls.spiffe.ids[0]"},
		{"tls: {spiffe: {socket: unix:///s, ids: [spiffe://example.org/a], trust_domain: example.org}}", "upstream.tls.spiffe.trust_domain"},
		{"tls: {ca_file: f, spiffe: {socket: unix:///s, trust_domain: example.org}}", "upstream.tls.spiffe"},
	} {
		scheme := "http"
		if strings.HasPrefix(tt.upstream, "tls") {
			scheme = "https"
		}
		_, err := configfile.Parse("graphward.yaml", []byte(base+"upstream:\n  url: "+scheme+"://127.0.0.1:1/graphql\n  "+tt.upstream+"\n"))
		if tt.problem == "" && err != nil || tt.problem != "" && (err == nil || !strings.Contains(err.Error(), tt.problem)) {
			t.Errorf("%s: got %v, want a problem with %q", tt.upstream, err, tt.problem)
		}
	}
}
