package identity

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/graphward/graphward/firewall/identity/identitytest"
)

const audience = "https://api.example.com"

func newTestIssuer(t testing.TB, algorithm string) *identitytest.Issuer {
	t.Helper()
	is, err := identitytest.NewIssuer("https://issuer.example.com", algorithm)
	if err != nil {
		t.Fatal(err)
	}
	return is
}

// jwksFile writes the issuer's keys and returns the path.
func jwksFile(t testing.TB, is *identitytest.Issuer) string {
	t.Helper()
	keys, err := is.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "jwks.json", string(keys))
}

func writeFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newVerifier(t testing.TB, c Config, opts ...Option) *Verifier {
	t.Helper()
	v, err := New(t.Context(), c, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v
}

func token(t testing.TB, is *identitytest.Issuer, claims map[string]any) string {
	t.Helper()
	text, err := is.Token(claims)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func request(headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/graphql", nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

// recalls holds Recall to what Authenticate has just said of the same request.
func recalls(t testing.TB, v *Verifier, r *http.Request, id *Identity, err error) {
	t.Helper()
	if got := v.Recall(r); got != nil && (err != nil || !cmp.Equal(got, id)) {
		t.Errorf("recalled %+v, Authenticate: %+v, %v", got, id, err)
	}
}

func TestJWT(t *testing.T) {
	for _, algorithm := range []string{"RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA"} {
		t.Run(algorithm, func(t *testing.T) {
			is := newTestIssuer(t, algorithm)
			v := newVerifier(t, Config{JWT: []JWTConfig{{
				Issuer: is.URL, JWKSFile: jwksFile(t, is), Audiences: []string{audience}, Algorithms: Algorithms(),
				Claims: ClaimsConfig{Roles: "realm_access.roles"},
			}}})
			text := token(t, is, map[string]any{
				"sub": "u1", "aud": []string{"other", audience}, "scope": "read write",
				"realm_access": map[string]any{"roles": []string{"admin"}}, "client_id": "web",
			})
			want := &Identity{
				Authenticated: true, Subject: "u1", Issuer: is.URL, Roles: []string{"admin"}, Scopes: []string{"read", "write"},
				Client: Client{ID: "web", Name: "web"}, Method: MethodJWT,
			}
			for _, pass := range []string{"cold", "warm"} {
				if id := v.Recall(request("Authorization", "bEARER "+text)); (id != nil) != (pass == "warm") {
					t.Errorf("%s: recalled %+v", pass, id)
				}
				got, err := v.Authenticate(request("Authorization", "bEARER "+text))
				if err != nil {
					t.Fatalf("%s: %v", pass, err)
				}
				if id := v.Recall(request("Authorization", "bEARER "+text)); id != got {
					t.Errorf("%s: recalled %p, want %p", pass, id, got)
				}
				if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Identity{}, "Claims", "Expiry")); diff != "" {
					t.Errorf("%s: %s", pass, diff)
				}
				if got.Expiry.IsZero() || got.Claims["sub"] != "u1" {
					t.Errorf("%s: expiry %v, claims %v", pass, got.Expiry, got.Claims)
				}
			}
		})
	}
}
