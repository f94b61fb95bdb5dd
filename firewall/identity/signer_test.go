package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"github.com/lestrrat-go/jwx/v3/jwk"

	"github.com/graphward/graphward/firewall/identity/identitytest"
)

func pkcs8(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func newSigner(t testing.TB, key []byte) *Signer {
	t.Helper()
	s, err := NewSigner(SignerOptions{Key: key, Issuer: "https://graphward.internal", Audience: "shop", TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A service that trusts the firewall's key gets the identity back, with each
// kind of key.
func TestSignerRoundTrip(t *testing.T) {
	for _, algorithm := range []string{"ES256", "ES384", "ES512", "EdDSA", "RS256"} {
		t.Run(algorithm, func(t *testing.T) {
			key, err := identitytest.NewKey("", algorithm)
			if err != nil {
				t.Fatal(err)
			}
			s := newSigner(t, pkcs8(t, key.Private))
			public, err := jwk.Import(key.Private.Public())
			if err != nil {
				t.Fatal(err)
			}
			if err := public.Set(jwk.KeyIDKey, s.KeyID()); err != nil {
				t.Fatal(err)
			}
			set, err := json.Marshal(map[string]any{"keys": []jwk.Key{public}})
			if err != nil {
				t.Fatal(err)
			}
			v := newVerifier(t, Config{JWT: []JWTConfig{{Issuer: "https://graphward.internal", Audiences: []string{"shop"},
				JWKSFile: writeFile(t, "jwks.json", string(set)), Algorithms: Algorithms()}}})
			in := &Identity{Authenticated: true, Subject: "u 1,\"ü\"", Issuer: "https://id.example", Roles: []string{"a b", "c"}, Scopes: []string{"read", "write"},
				Client: Client{ID: "web"}, Method: MethodJWT}
			token, err := s.Token(in, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+token)
			out, err := v.Authenticate(r)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]any{in.Subject, in.Roles, in.Scopes, in.Client.ID, in.Issuer, in.Method},
				[]any{out.Subject, out.Roles, out.Scopes, out.Client.ID, out.Claims["idp"], out.Claims["auth_method"]}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A token is used again for half its life, for whoever is equal in all that it
// says, and never beyond the identity's own end.
func TestSignerReuse(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := newSigner(t, pkcs8(t, key))
	now := time.Now().Truncate(time.Second)
	get := func(id Identity, at time.Time) string {
		text, err := s.Token(&id, at)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	expiry := func(text string) time.Time {
		payload := decodePart(t, strings.Split(text, ".")[1])
		var claims struct {
			Expiry int64 `json:"exp"`
		}
		if err := json.Unmarshal(payload, &claims); err != nil {
			t.Fatal(err)
		}
		return time.Unix(claims.Expiry, 0)
	}
	base := Identity{Authenticated: true, Subject: "u1", Roles: []string{"a", "b"}, Method: MethodJWT}
	first := get(base, now)
	if get(base, now.Add(29*time.Second)) != first {
		t.Error("a token is signed anew within half its life")
	}
	if get(base, now.Add(31*time.Second)) == first {
		t.Error("a token is used beyond half its life")
	}
	for name, other := range map[string]Identity{
		"subject":      {Authenticated: true, Subject: "u2", Roles: base.Roles, Method: MethodJWT},
		"roles joined": {Authenticated: true, Subject: "u1", Roles: []string{"ab"}, Method: MethodJWT},
		"as scopes":    {Authenticated: true, Subject: "u1", Scopes: base.Roles, Method: MethodJWT},
		"method":       {Authenticated: true, Subject: "u1", Roles: base.Roles, Method: MethodAPIKey},
		"issuer":       {Authenticated: true, Subject: "u1", Roles: base.Roles, Method: MethodJWT, Issuer: "i"},
		"client":       {Authenticated: true, Subject: "u1", Roles: base.Roles, Method: MethodJWT, Client: Client{ID: "web"}},
		"expiry":       {Authenticated: true, Subject: "u1", Roles: base.Roles, Method: MethodJWT, Expiry: now.Add(time.Hour)},
	} {
		if get(other, now) == first {
			t.Errorf("another %s gets the same token", name)
		}
	}
	for _, tt := range []struct{ ends, want time.Duration }{{0, time.Minute}, {time.Hour, time.Minute}, {20 * time.Second, 20 * time.Second}, {time.Second, minTokenLife}, {-time.Second, minTokenLife}} {
		id := base
		id.Subject = "somebody else"
		if tt.ends != 0 {
			id.Expiry = now.Add(tt.ends)
		}
		if got := expiry(get(id, now)).Sub(now); got != tt.want {
			t.Errorf("an identity that ends in %s has a token of %s, want %s", tt.ends, got, tt.want)
		}
	}
	for i := range maxSigned + maxSigned/4 {
		get(Identity{Authenticated: true, Subject: fmt.Sprint(i), Method: MethodJWT}, now)
		if held := len(s.young) + len(s.old); held > maxSigned {
			t.Fatalf("%d tokens are held", held)
		}
	}
}

func TestSignerKeys(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	odd, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, good, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	planted := "MC4CAQAwBQYDK2VwBCIEIPlantedSecretPlantedSecret"
	for name, text := range map[string][]byte{
		"empty": nil, "no PEM": []byte(planted), "weak RSA": pkcs8(t, weak), "P-224": pkcs8(t, odd),
		"a certificate": []byte("-----BEGIN CERTIFICATE-----\n" + planted + "\n-----END CERTIFICATE-----\n"),
		"broken":        []byte("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIE\n-----END PRIVATE KEY-----\n"),
	} {
		if _, err := NewSigner(SignerOptions{Key: text, TTL: time.Minute}); err == nil || strings.Contains(err.Error(), "Planted") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewSigner(SignerOptions{Key: pkcs8(t, good), TTL: time.Minute}); err != nil {
		t.Error(err)
	}
}

func BenchmarkSignerKnown(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	s := newSigner(b, pkcs8(b, key))
	id, now := &Identity{Authenticated: true, Subject: "u1", Issuer: "https://id.example", Roles: []string{"admin", "staff"}, Method: MethodJWT}, time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Token(id, now); err != nil {
			b.Fatal(err)
		}
	}
}

func decodePart(t testing.TB, part string) []byte {
	t.Helper()
	out, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
