// Package identitytest has an OpenID Connect issuer for tests and examples:
// it serves discovery and keys, signs tokens, and rotates keys on demand.
// It authenticates nobody and must not be reachable in production.
package identitytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws/jwsbb"
)

// Key is a signing key of an [Issuer].
type Key struct {
	ID        string
	Algorithm string // RS256, PS256, ES256, ES384, ES512 or EdDSA
	Private   crypto.Signer
}

// NewKey generates a key for an algorithm.
func NewKey(id, algorithm string) (*Key, error) {
	key := &Key{ID: id, Algorithm: algorithm}
	var err error
	switch algorithm {
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
		key.Private, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		key.Private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		key.Private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		key.Private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, key.Private, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("identitytest: no keys for algorithm %q", algorithm)
	}
	if err != nil {
		return nil, err
	}
	return key, nil
}

// JWK returns the public key as a JSON Web Key with kid, alg and use.
func (k *Key) JWK() (jwk.Key, error) {
	public, err := jwk.Import(k.Private.Public())
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{jwk.KeyIDKey: k.ID, jwk.AlgorithmKey: k.Algorithm, jwk.KeyUsageKey: "sig"} {
		if err := public.Set(name, value); err != nil {
			return nil, err
		}
	}
	return public, nil
}

// Sign returns header and payload, both as they are, signed in compact form
// (RFC 7515 section 7.1).
func (k *Key) Sign(header, payload []byte) (string, error) {
	input := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
	signature, err := jwsbb.Sign(k.Private, k.Algorithm, []byte(input), nil)
	if err != nil {
		return "", err
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// Issuer is an http.Handler that serves
// /.well-known/openid-configuration and /jwks. It is safe for concurrent
// use.
type Issuer struct {
	// URL is the issuer's name and where it is served, without a final slash.
	URL string

	fetches atomic.Int64
	mu      sync.Mutex
	keys    []*Key // published; the last one signs
}

var _ http.Handler = (*Issuer)(nil)

// NewIssuer returns an issuer with one key for algorithm.
func NewIssuer(url, algorithm string) (*Issuer, error) {
	i := &Issuer{URL: url}
	if _, err := i.AddKey(algorithm); err != nil {
		return nil, err
	}
	return i, nil
}

// AddKey publishes a new key, which signs from now on, and returns it.
func (i *Issuer) AddKey(algorithm string) (*Key, error) {
	id := make([]byte, 8)
	_, _ = rand.Read(id) // never fails
	key, err := NewKey(fmt.Sprintf("%x", id), algorithm)
	if err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = append(i.keys, key)
	return key, nil
}

// RemoveKey stops publishing a key and signing with it. The last key cannot
// be removed.
func (i *Issuer) RemoveKey(id string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.keys) > 1 {
		i.keys = slices.DeleteFunc(i.keys, func(k *Key) bool { return k.ID == id })
	}
}

// Retire stops publishing all keys but the one that signs.
func (i *Issuer) Retire() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = slices.Clone(i.keys[len(i.keys)-1:])
}

// Key returns the key that signs.
func (i *Issuer) Key() *Key {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[len(i.keys)-1]
}

// Fetches returns how often the keys were asked for over HTTP.
func (i *Issuer) Fetches() int { return int(i.fetches.Load()) }

// Token returns a token with the claims. Absent "iss", "iat" and "exp" are
// added: this issuer, now, and in one hour. A nil value leaves a claim out.
func (i *Issuer) Token(claims map[string]any) (string, error) {
	now := time.Now()
	all := map[string]any{"iss": i.URL, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	payload, err := json.Marshal(all)
	if err != nil {
		return "", err
	}
	key := i.Key()
	header, err := json.Marshal(map[string]string{"alg": key.Algorithm, "kid": key.ID, "typ": "JWT"})
	if err != nil {
		return "", err
	}
	return key.Sign(header, payload)
}

// JWKS returns the published keys (RFC 7517).
func (i *Issuer) JWKS() ([]byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	list := make([]jwk.Key, len(i.keys))
	for at, key := range i.keys {
		var err error
		if list[at], err = key.JWK(); err != nil {
			return nil, err
		}
	}
	return json.Marshal(map[string]any{"keys": list})
}

// ServeHTTP implements http.Handler.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body []byte
	var err error
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		body, err = json.Marshal(map[string]any{
			"issuer":   i.URL,
			"jwks_uri": i.URL + "/jwks",
		})
	case "/jwks":
		i.fetches.Add(1)
		body, err = i.JWKS()
	default:
		http.NotFound(w, r)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}
