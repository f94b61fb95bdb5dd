package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws/jwsbb"
)

const (
	maxKeys = 100
	// maxCandidates bounds the signatures that one token may cost where it
	// names no key or several keys have its name.
	maxCandidates = 4

	minRSABits = 2048 // RFC 7518 section 3.3
	maxRSABits = 8192 // verification time grows with the square
)

// verificationKey is one public key of an issuer with the algorithms that
// it may verify. It is immutable but for revoked.
type verificationKey struct {
	id         string // "kid", may be empty
	algorithms []string
	public     crypto.PublicKey
	print      [32]byte // RFC 7638 thumbprint

	// revoked is set once the issuer no longer lists the key, so that cached
	// verdicts of it end without anyone walking the cache.
	revoked atomic.Bool
}

// same reports whether both are one key under one name for one use.
func (k *verificationKey) same(other *verificationKey) bool {
	return k.id == other.id && k.print == other.print && slices.Equal(k.algorithms, other.algorithms)
}

// verify checks a signature over input by an algorithm that the caller
// found among k's own.
func (k *verificationKey) verify(algorithm string, input, signature []byte) error {
	return jwsbb.Verify(k.public, algorithm, input, signature)
}

// keySet is what one document of keys yields, immutable.
type keySet struct {
	keys    []*verificationKey
	skipped []string // why the other keys of the document are not used

	// gone are ids of keys that were here before, the latest last. A token that
	// names one asks for no fetch: its bearers are many after a rotation, and
	// would spend what a new key's need.
	gone []string
}

// find returns the keys that may have signed a token with this header. With
// a key id, only keys of that id; without, every key for the algorithm, up
// to maxCandidates.
func (s *keySet) find(id, algorithm string) []*verificationKey {
	var found []*verificationKey
	for _, key := range s.keys {
		if (id == "" || key.id == id) && slices.Contains(key.algorithms, algorithm) {
			found = append(found, key)
			if len(found) == maxCandidates {
				break
			}
		}
	}
	return found
}

// parseKeys reads a JWK set (RFC 7517) and keeps the keys that can verify
// one of the allowed algorithms. A key that cannot is skipped, as section 5
// asks; a document that is no set is an error. Keys equal to one of prior
// are represented by it.
func parseKeys(document []byte, allowed []string, prior *keySet) (*keySet, error) {
	if !bytes.Contains(document, []byte(`"keys"`)) {
		return nil, errors.New("is not a JWK set")
	}
	set, err := jwk.Parse(document, jwk.WithMaxKeys(maxKeys), jwk.WithStrictKeySetParsing(false))
	if err != nil {
		return nil, fmt.Errorf("is not a JWK set of at most %d keys", maxKeys)
	}
	keys := &keySet{}
	for i := range set.Len() {
		raw, _ := set.Key(i)
		key, err := newVerificationKey(raw, allowed)
		if err != nil {
			name, _ := raw.KeyID()
			keys.skipped = append(keys.skipped, fmt.Sprintf("keys[%d] %q: %s", i, name, err))
			continue
		}
		if prior != nil {
			if at := slices.IndexFunc(prior.keys, key.same); at >= 0 {
				key = prior.keys[at]
			}
		}
		keys.keys = append(keys.keys, key)
	}
	return keys, nil
}

func newVerificationKey(raw jwk.Key, allowed []string) (*verificationKey, error) {
	if jwk.IsUnsupportedKey(raw) {
		return nil, errors.New("unknown or malformed key")
	}
	if private, err := jwk.IsPrivateKey(raw); err == nil && private {
		return nil, errors.New("is a private key, which everyone who read it can sign with")
	}
	if use, ok := raw.KeyUsage(); ok && use != "sig" {
		return nil, fmt.Errorf("is for use %q, not sig", use)
	}
	if ops, ok := raw.KeyOps(); ok && !slices.Contains(ops, jwk.KeyOpVerify) {
		return nil, errors.New("key_ops does not contain verify")
	}
	var public any
	if err := jwk.Export(raw, &public); err != nil {
		return nil, errors.New("malformed key")
	}
	key := &verificationKey{}
	key.id, _ = raw.KeyID()
	var possible []string
	switch typed := public.(type) {
	case *rsa.PublicKey:
		if bits := typed.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, fmt.Errorf("has %d bits, not %d to %d", bits, minRSABits, maxRSABits)
		}
		if typed.E < 3 || typed.E%2 == 0 {
			return nil, errors.New("has an exponent that is even or below 3")
		}
		possible = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case *ecdsa.PublicKey:
		if _, err := typed.ECDH(); err != nil {
			return nil, errors.New("is not a point on its curve")
		}
		switch typed.Curve {
		case elliptic.P256():
			possible = []string{"ES256"}
		case elliptic.P384():
			possible = []string{"ES384"}
		case elliptic.P521():
			possible = []string{"ES512"}
		}
	case ed25519.PublicKey:
		possible = []string{"EdDSA", "Ed25519"}
	default:
		return nil, errors.New("is not an RSA, EC or Ed25519 public key")
	}
	key.public = public
	if own, ok := raw.Algorithm(); ok {
		possible = slices.DeleteFunc(possible, func(alg string) bool { return alg != own.String() })
	}
	key.algorithms = slices.DeleteFunc(possible, func(alg string) bool { return !slices.Contains(allowed, alg) })
	if len(key.algorithms) == 0 {
		return nil, fmt.Errorf("serves none of %s", strings.Join(allowed, " "))
	}
	print, err := raw.Thumbprint(crypto.SHA256)
	if err != nil || len(print) != len(key.print) {
		return nil, errors.New("malformed key")
	}
	copy(key.print[:], print)
	return key, nil
}
