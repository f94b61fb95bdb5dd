package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// FuzzAuthorization: whatever the headers are, no panic, no anonymous
// identity for a presented credential, and no identity at all but by the
// credentials that the arena knows.
func FuzzAuthorization(f *testing.F) {
	a := newArena(f)
	good := (&forged{}).token(f, a)
	for _, attack := range tokenAttacks(f, a) {
		f.Add("Bearer "+attack.token(f, a), "")
	}
	f.Add("Bearer "+good, "")
	f.Add("", "the-api-key")
	f.Add("ApiKey the-api-key", "")
	f.Fuzz(func(t *testing.T, authorization, key string) {
		r := request()
		if authorization != "" {
			r.Header["Authorization"] = []string{authorization}
		}
		if key != "" {
			r.Header["X-Api-Key"] = []string{key}
		}
		check(t, a, r, good, authorization, key)
	})
}

func check(t *testing.T, a *arena, r *http.Request, good, authorization, key string) {
	id, err := a.verifier.Authenticate(r)
	recalls(t, a.verifier, r, id, err)
	if (id == nil) == (err == nil) {
		t.Fatalf("got %+v and %v", id, err)
	}
	if err != nil {
		if _, ok := err.(*UnauthenticatedError); !ok {
			t.Fatalf("got a %T", err)
		}
		return
	}
	_, presented, _ := strings.Cut(authorization, " ")
	presented = strings.TrimLeft(presented, " ")
	switch id.Method {
	case MethodAnonymous:
		if authorization != "" || key != "" {
			t.Fatal("a presented credential became anonymous")
		}
	case MethodJWT:
		if presented != good {
			t.Fatalf("another token than the good one: %q", presented)
		}
	case MethodAPIKey:
		if key != "the-api-key" && presented != "the-api-key" {
			t.Fatalf("another key: %q", key)
		}
	default:
		t.Fatalf("method %q", id.Method)
	}
}

// FuzzParseSigned: the part that reads what nobody vouches for.
func FuzzParseSigned(f *testing.F) {
	a := newArena(f)
	for _, attack := range tokenAttacks(f, a) {
		f.Add(attack.token(f, a))
	}
	f.Fuzz(func(t *testing.T, text string) {
		token, err := parseSigned(text)
		if err != nil {
			return
		}
		if token.algorithm == "" || token.claims == nil || len(token.signature) == 0 || len(text) > maxToken {
			t.Fatalf("got %+v", token)
		}
		if string(token.input) != text[:strings.LastIndexByte(text, '.')] {
			t.Fatal("what is verified is not what was sent")
		}
	})
}

// FuzzKeys reads any document as a JWK set: no key is kept that is private,
// weak or serves an algorithm that was not allowed.
func FuzzKeys(f *testing.F) {
	allowed := []string{"RS256", "ES256", "EdDSA"}
	for _, s := range []string{
		`{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","kid":"e"}]}`,
		`{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}]}`,
		`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","alg":"HS256"}]}`, `{"keys":[{"kty":"oct","k":"AAAA","alg":"HS256"}]}`,
		`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","use":"enc"}]}`,
		`{"keys":[{"kty":"OKP","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`, `{"keys":{}}`, `{"keys":[]}`, `"keys"`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		set, err := parseKeys(document, allowed, nil)
		if err != nil {
			return
		}
		if len(set.keys)+len(set.skipped) > maxKeys {
			t.Fatalf("%d keys", len(set.keys)+len(set.skipped))
		}
		for _, key := range set.keys {
			if len(key.algorithms) == 0 {
				t.Fatal("a key without an algorithm is kept")
			}
			for _, algorithm := range key.algorithms {
				if !slices.Contains(allowed, algorithm) {
					t.Fatalf("%s was not allowed", algorithm)
				}
				if key.verify(algorithm, []byte("input"), make([]byte, 64)) == nil {
					t.Fatalf("a signature of zeros is good for %s", algorithm)
				}
			}
			switch public := key.public.(type) {
			case *rsa.PublicKey:
				if public.N.BitLen() < minRSABits {
					t.Fatalf("%d bits", public.N.BitLen())
				}
			case *ecdsa.PublicKey, ed25519.PublicKey:
			default:
				t.Fatalf("a %T verifies", public)
			}
		}
		again, err := parseKeys(document, allowed, set)
		if err != nil || len(again.keys) != len(set.keys) {
			t.Fatalf("read again: %v", err)
		}
		for _, key := range again.keys {
			if !slices.Contains(set.keys, key) {
				t.Fatal("an equal key is not represented by the prior one")
			}
		}
	})
}
