package firewall_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwk"

	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/identity"
	"github.com/graphward/graphward/firewall/identity/identitytest"
)

const tokenIssuer, tokenAudience = "https://id.example", "shop"

// arena is a firewall with a real verifier in front of a backend that counts.
// Anonymous callers are allowed, so that a bad credential that became anonymous
// would reach the backend.
type arena struct {
	firewall         *firewall.Firewall
	backend          *told
	records          *seen
	rsa, ec, b, evil *identitytest.Key
}

func keySet(t testing.TB, keys ...*identitytest.Key) []byte {
	t.Helper()
	list := make([]jwk.Key, len(keys))
	for i, key := range keys {
		var err error
		if list[i], err = key.JWK(); err != nil {
			t.Fatal(err)
		}
	}
	set, err := json.Marshal(map[string]any{"keys": list})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func namedKey(t testing.TB, id, algorithm string) *identitytest.Key {
	key := newKey(t, algorithm)
	key.ID = id
	return key
}

func newArena(t *testing.T) *arena {
	t.Helper()
	c, dir := laid(t, allowEverything)
	a := &arena{backend: &told{}, records: &seen{}, rsa: namedKey(t, "rsa", "RS256"), ec: namedKey(t, "ec", "ES256"),
		b: namedKey(t, "b", "ES256"), evil: namedKey(t, "rsa", "RS256")}
	first, second, keys := filepath.Join(dir, "a.json"), filepath.Join(dir, "b.json"), filepath.Join(dir, "keys.yaml")
	replace(t, first, keySet(t, a.rsa, a.ec))
	replace(t, second, keySet(t, a.b))
	replace(t, keys, fmt.Appendf(nil, "- {id: k1, sha256: %x}\n", sha256.Sum256([]byte("the-api-key"))))
	c.Identity = identity.Config{Anonymous: identity.Allow, APIKeys: &identity.APIKeysConfig{File: keys}, JWT: []identity.JWTConfig{
		{Issuer: tokenIssuer, JWKSFile: first, Audiences: []string{tokenAudience}, Cookie: "session"},
		{Issuer: "https://b.example", JWKSFile: second, Audiences: []string{tokenAudience}},
	}}
	c.Identity.PublicClients = []string{"web"}
	var err error
	if a.firewall, err = firewall.New(t.Context(), c, firewall.WithHandler(a.backend), firewall.WithAuditSink(a.records)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.firewall.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

type members = map[string]any

func goodClaims() members {
	now := time.Now().Unix()
	return members{"iss": tokenIssuer, "sub": "u1", "aud": tokenAudience, "iat": now, "exp": now + 3600}
}

func patchedJSON(base, with members) []byte {
	maps.Copy(base, with)
	maps.DeleteFunc(base, func(_ string, v any) bool { return v == nil })
	text, err := json.Marshal(base)
	if err != nil {
		panic(err)
	}
	return text
}

// signed returns a token of the key with changes to a good header and good
// claims; nil takes a member away.
func signed(t testing.TB, key *identitytest.Key, header, claims members) string {
	t.Helper()
	text, err := key.Sign(patchedJSON(members{"alg": key.Algorithm, "kid": key.ID, "typ": "JWT"}, header), patchedJSON(goodClaims(), claims))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// unsigned is a token whose signature is what it is given.
func unsigned(header, claims, signature []byte) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode(header) + "." + encode(claims) + "." + encode(signature)
}

func (a *arena) hmac(t testing.TB) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(a.rsa.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	token := unsigned([]byte(`{"alg":"HS256","kid":"rsa","typ":"JWT"}`), patchedJSON(goodClaims(), nil), nil)
	mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	mac.Write([]byte(strings.TrimSuffix(token, ".")))
	return token + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Each class of attack on a credential, end to end: 401, never anonymous, the
// upstream untouched, the reason in the record and the credential nowhere.
func TestTokenAttacks(t *testing.T) {
	a := newArena(t)
	now := time.Now().Unix()
	token := func(key *identitytest.Key, header, claims members) http.Header {
		return http.Header{"Authorization": {"Bearer " + signed(t, key, header, claims)}}
	}
	raw := func(text string) http.Header { return http.Header{"Authorization": {"Bearer " + text}} }
	evilKey, err := a.evil.JWK()
	if err != nil {
		t.Fatal(err)
	}
	good := signed(t, a.rsa, nil, nil)
	claims := patchedJSON(goodClaims(), nil)
	twice := append(bytes.TrimSuffix(patchedJSON(goodClaims(), nil), []byte("}")), `,"sub":"admin"}`...)
	duplicate, err := a.rsa.Sign([]byte(`{"alg":"RS256","kid":"rsa"}`), twice)
	if err != nil {
		t.Fatal(err)
	}
	attacks := map[string]http.Header{
		"alg none":                                 raw(unsigned([]byte(`{"alg":"none"}`), claims, nil)),
		"alg none with a signature":                raw(unsigned([]byte(`{"alg":"none","kid":"rsa"}`), claims, []byte("x"))),
		"alg nOnE":                                 token(a.rsa, members{"alg": "nOnE"}, nil),
		"HS256 keyed with the public key":          raw(a.hmac(t)),
		"ES256 named, RSA key":                     token(a.rsa, members{"alg": "ES256"}, nil),
		"all-zero ECDSA signature, CVE-2022-21449": raw(unsigned([]byte(`{"alg":"ES256","kid":"ec"}`), claims, make([]byte, 64))),
		"wrong kid":                                token(a.rsa, members{"kid": "ec"}, nil),
		"unknown kid":                              token(a.rsa, members{"kid": "?"}, nil),
		"kid injection, path":                      token(a.rsa, members{"kid": "../../../../dev/null"}, nil),
		"kid injection, SQL":                       token(a.rsa, members{"kid": "x' UNION SELECT 'k"}, nil),
		"somebody's key under the right kid":       token(a.evil, nil, nil),
		"header jwk":                               token(a.evil, members{"jwk": evilKey}, nil),
		"header jku":                               token(a.evil, members{"jku": "http://127.0.0.1:1/jwks"}, nil),
		"header x5u":                               token(a.evil, members{"x5u": "http://127.0.0.1:1/x"}, nil),
		"header x5c":                               token(a.evil, members{"x5c": []any{"MIIB"}}, nil),
		"header crit":                              token(a.rsa, members{"crit": []any{"exp"}}, nil),
		"header zip":                               token(a.rsa, members{"zip": "DEF"}, nil),
		"expired":                                  token(a.rsa, nil, members{"exp": now - 60}),
		"expired and badly signed, CVE-2024-51744": token(a.evil, nil, members{"exp": now - 60}),
		"exp missing":                         token(a.rsa, nil, members{"exp": nil}),
		"not yet valid":                       token(a.rsa, nil, members{"nbf": now + 120}),
		"aud missing, CVE-2020-26160":         token(a.rsa, nil, members{"aud": nil}),
		"aud wrong":                           token(a.rsa, nil, members{"aud": "other"}),
		"aud an array of others":              token(a.rsa, nil, members{"aud": []any{"x", "y"}}),
		"aud an empty array":                  token(a.rsa, nil, members{"aud": []any{}}),
		"iss missing":                         token(a.rsa, nil, members{"iss": nil}),
		"iss unknown":                         token(a.rsa, nil, members{"iss": "https://evil.example"}),
		"another issuer's key":                token(a.b, nil, nil),
		"this key as another issuer":          token(a.rsa, nil, members{"iss": "https://b.example"}),
		"sub missing":                         token(a.rsa, nil, members{"sub": nil}),
		"duplicate claims":                    raw(duplicate),
		"a JWE":                               raw("eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA"),
		"a nested token":                      token(a.rsa, members{"cty": "JWT"}, nil),
		"20,000 dots, CVE-2025-30204":         raw(strings.Repeat(".", 20_000)),
		"a giant token":                       token(a.rsa, nil, members{"x": strings.Repeat("x", 12_000)}),
		"without signature":                   raw(good[:strings.LastIndexByte(good, '.')+1]),
		"empty":                               raw(""),
		"another scheme":                      {"Authorization": {"Basic dTpw"}},
		"two Authorization headers":           {"Authorization": {"Bearer " + good, "Bearer " + good}},
		"header and cookie":                   {"Authorization": {"Bearer " + good}, "Cookie": {"session=" + good}},
		"two cookies":                         {"Cookie": {"session=" + good + "; session=x"}},
		"a bad cookie":                        {"Cookie": {"session=" + good + "x"}},
		"token and API key":                   {"Authorization": {"Bearer " + good}, "X-Api-Key": {"the-api-key"}},
		"a wrong API key":                     {"X-Api-Key": {"the-api-keY"}},
		"an empty API key":                    {"X-Api-Key": {""}},
		"a header that contradicts the token": {"Authorization": token(a.rsa, nil, members{"client_id": "mobile"})["Authorization"], "Graphql-Client-Name": {"web"}},
	}
	for name, header := range attacks {
		t.Run(name, func(t *testing.T) {
			w := askAs(a.firewall, header)
			record := a.records.last(t)
			if w.Code != http.StatusUnauthorized || codeOf(w.Body.Bytes()) != "UNAUTHENTICATED" || w.Header().Get("Www-Authenticate") == "" {
				t.Errorf("status %d %s %q", w.Code, w.Body, w.Header())
			}
			if n := a.backend.calls.Load(); n != 0 {
				t.Errorf("upstream was touched %d times", n)
			}
			if record.Code != "UNAUTHENTICATED" || record.Subject != "" || record.Message == "" {
				t.Errorf("the record says %q, subject %q, %q", record.Code, record.Subject, record.Message)
			}
			for _, values := range header {
				_, secret, _ := strings.Cut(values[0], " ")
				if len(secret) > 8 && strings.Contains(fmt.Sprintf("%+v", record)+w.Body.String(), secret) {
					t.Error("the credential is in the record or the answer")
				}
			}
		})
	}
	for name, header := range map[string]http.Header{"token": raw(good), "cookie": {"Cookie": {"session=" + good}}, "API key": {"X-Api-Key": {"the-api-key"}}, "anonymous": {}} {
		if w := askAs(a.firewall, header); w.Code != http.StatusOK {
			t.Errorf("%s: status %d %s", name, w.Code, w.Body)
		}
	}
	if n := a.backend.calls.Load(); n != 4 {
		t.Errorf("upstream was touched %d times, want 4", n)
	}
}

// An issuer rotates its key while requests come in, by discovery over HTTP: no
// request is lost.
func TestKeyRotationUnderLoad(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	issuer, err := identitytest.NewIssuer("http://"+server.Listener.Addr().String(), "ES256")
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = issuer
	server.Start()
	defer server.Close()
	c, _ := laid(t, allowEverything)
	c.Identity = identity.Config{JWT: []identity.JWTConfig{{Issuer: issuer.URL, Discovery: true, Audiences: []string{tokenAudience}}}}
	f, err := firewall.New(t.Context(), c, firewall.WithHandler(&answering{}))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var requests, after atomic.Int64
	var rotated atomic.Bool
	var wg sync.WaitGroup
	defer wg.Wait()
	for worker := range 3 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				fresh := rotated.Load()
				text, err := issuer.Token(map[string]any{"sub": fmt.Sprintf("u%d-%d", worker, i), "aud": tokenAudience})
				if err != nil {
					t.Error(err)
					return
				}
				if w := askAs(f, http.Header{"Authorization": {"Bearer " + text}}); w.Code != http.StatusOK {
					t.Errorf("during the rotation: status %d %s", w.Code, w.Body)
					return
				}
				requests.Add(1)
				if fresh {
					after.Add(1)
				}
			}
		})
	}
	for requests.Load() < 50 && !t.Failed() {
		askAs(f, nil)
	}
	if _, err := issuer.AddKey("ES256"); err != nil {
		t.Fatal(err)
	}
	rotated.Store(true)
	for after.Load() < 50 && !t.Failed() {
		askAs(f, nil)
	}
	stop()
	wg.Wait()
	if n := issuer.Fetches(); n != 2 {
		t.Errorf("the keys were fetched %d times, want at start and for the new key", n)
	}
}
