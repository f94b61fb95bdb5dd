package identity

import (
	"crypto"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/lestrrat-go/jwx/v3/jws/jwsbb"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

func benchClaims() map[string]any {
	return map[string]any{
		"sub": "248289761001", "aud": []string{audience}, "scope": "openid profile read:orders write:orders",
		"roles": []string{"customer", "support"}, "client_id": "web", "jti": "0195f2a0-7c3e-7b9a-a1b2-4f6d8c0e2a44",
		"email": "jane.doe@example.com", "plan": "gold",
	}
}

// BenchmarkWarm is a token, an API key or nothing at all that was seen
// before, with all client headers looked for.
func BenchmarkWarm(b *testing.B) {
	for _, algorithm := range []string{"RS256", "ES256"} {
		is := newTestIssuer(b, algorithm)
		v := newVerifier(b, Config{JWT: []JWTConfig{{Issuer: is.URL, JWKSFile: jwksFile(b, is), Audiences: []string{audience}}}})
		text := token(b, is, benchClaims())
		r := request("Authorization", "Bearer "+text)
		b.Run(algorithm, func(b *testing.B) {
			b.ReportAllocs()
			b.ReportMetric(float64(len(text)), "bytes")
			for b.Loop() {
				if _, err := v.Authenticate(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	v := newVerifier(b, Config{Anonymous: Allow})
	r := request()
	b.Run("anonymous", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Authenticate(r); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkCold is a token never seen, beside the signature alone by the
// library, and beside the library's own whole verification of a JWT.
func BenchmarkCold(b *testing.B) {
	for _, algorithm := range []string{"RS256", "ES256"} {
		is := newTestIssuer(b, algorithm)
		v := newVerifier(b, Config{JWT: []JWTConfig{{Issuer: is.URL, JWKSFile: jwksFile(b, is), Audiences: []string{audience}}}})
		text := token(b, is, benchClaims())
		public := is.Key().Private.Public()
		b.Run(algorithm+"/ours", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.verifySigned(b.Context(), text, time.Now()); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(algorithm+"/bare-signature", func(b *testing.B) { benchSignature(b, algorithm, public, text) })
		b.Run(algorithm+"/bare-jws.Verify", func(b *testing.B) {
			alg, _ := jwa.LookupSignatureAlgorithm(algorithm)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := jws.Verify([]byte(text), jws.WithKey(alg, public)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(algorithm+"/bare-jwt.Parse", func(b *testing.B) {
			alg, _ := jwa.LookupSignatureAlgorithm(algorithm)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := jwt.Parse([]byte(text), jwt.WithKey(alg, public), jwt.WithIssuer(is.URL), jwt.WithAudience(audience)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benchSignature(b *testing.B, algorithm string, public crypto.PublicKey, text string) {
	last := strings.LastIndexByte(text, '.')
	signature, err := decodeBase64(text[last+1:])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := jwsbb.Verify(public, algorithm, []byte(text[:last]), signature); err != nil {
			b.Fatal(err)
		}
	}
}
