package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"github.com/lestrrat-go/jwx/v3/jwk"
)

// members returns a key as the members of its JWK, changed by patch.
func members(t testing.TB, raw any, patch map[string]any) map[string]any {
	t.Helper()
	key, err := jwk.Import(raw)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	maps.Copy(all, patch)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	return all
}

func TestParseKeys(t *testing.T) {
	big, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	curve := func(c elliptic.Curve) *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	p256, p384, p521 := curve(elliptic.P256()), curve(elliptic.P384()), curve(elliptic.P521())
	number := func(bits int) string {
		n := make([]byte, bits/8)
		n[0], n[len(n)-1] = 0x80, 1
		return base64.RawURLEncoding.EncodeToString(n)
	}
	rsaKey := func(patch map[string]any) map[string]any { return members(t, big.Public(), patch) }
	for name, test := range map[string]struct {
		key     any
		allowed string
		want    string // algorithms, or "!" and why not
	}{
		"RSA":                          {rsaKey(nil), "RS256 PS512 ES256", "RS256 PS512"},
		"RSA for one algorithm":        {rsaKey(object{"alg": "PS512"}), "RS256 PS512 ES256", "PS512"},
		"RSA for one not allowed":      {rsaKey(object{"alg": "RS512"}), "RS256 PS512", "!serves none"},
		"RSA for encryption":           {rsaKey(object{"alg": "RSA-OAEP"}), "RS256", "!serves none"},
		"RSA named as symmetric":       {rsaKey(object{"alg": "HS256"}), "RS256", "!serves none"},
		"RSA of 1024 bits":             {rsaKey(object{"n": number(1024)}), "RS256", "!"},
		"RSA of 16384 bits":            {rsaKey(object{"n": number(16384)}), "RS256", "!16384 bits"},
		"RSA with exponent 1":          {rsaKey(object{"e": "AQ"}), "RS256", "!"},
		"RSA with an even exponent":    {rsaKey(object{"e": "BA"}), "RS256", "!"},
		"RSA without modulus":          {rsaKey(object{"n": nil}), "RS256", "!malformed"},
		"for encryption by use":        {rsaKey(object{"use": "enc"}), "RS256", "!use"},
		"for signatures by use":        {rsaKey(object{"use": "sig"}), "RS256", "RS256"},
		"for encryption by key_ops":    {rsaKey(object{"key_ops": []any{"encrypt"}}), "RS256", "!key_ops"},
		"for verification by key_ops":  {rsaKey(object{"key_ops": []any{"verify"}}), "RS256", "RS256"},
		"a private RSA key":            {members(t, big, nil), "RS256", "!private"},
		"a private EC key":             {members(t, p256, nil), "ES256", "!private"},
		"P-256":                        {members(t, p256.Public(), nil), strings.Join(Algorithms(), " "), "ES256"},
		"P-384":                        {members(t, p384.Public(), nil), strings.Join(Algorithms(), " "), "ES384"},
		"P-521":                        {members(t, p521.Public(), nil), strings.Join(Algorithms(), " "), "ES512"},
		"P-384 that says ES256":        {members(t, p384.Public(), object{"alg": "ES256"}), "ES256 ES384", "!serves none"},
		"a point that is off":          {members(t, p256.Public(), object{"x": number(256)}), "ES256", "!"},
		"Ed25519":                      {members(t, newKey(t, "e", "EdDSA").Private.Public(), nil), "EdDSA Ed25519", "EdDSA Ed25519"},
		"Ed25519 by its older name":    {members(t, newKey(t, "e", "EdDSA").Private.Public(), object{"alg": "EdDSA"}), "EdDSA Ed25519", "EdDSA"},
		"X25519":                       {object{"kty": "OKP", "crv": "X25519", "x": number(256)}, "EdDSA", "!"},
		"a symmetric key":              {object{"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}, "RS256", "!"},
		"an unknown type":              {object{"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}, "RS256", "!unknown or malformed"},
		"a key that is no object":      {1, "RS256", "!"},
		"an X.509 chain is not judged": {rsaKey(object{"x5t": "AAAA"}), "RS256", "RS256"},
	} {
		t.Run(name, func(t *testing.T) {
			document, err := json.Marshal(object{"keys": []any{test.key}})
			if err != nil {
				t.Fatal(err)
			}
			set, err := parseKeys(document, strings.Fields(test.allowed), nil)
			got := ""
			switch {
			case err != nil:
				got = "!" + err.Error()
			case len(set.keys) == 0:
				got = "!" + strings.Join(set.skipped, ";")
			default:
				got = strings.Join(set.keys[0].algorithms, " ")
			}
			if why, bad := strings.CutPrefix(test.want, "!"); bad {
				if !strings.HasPrefix(got, "!") || !strings.Contains(got, why) {
					t.Errorf("got %q, not a key refused for %q", got, why)
				}
			} else if got != test.want {
				t.Errorf("got %q, not %q", got, test.want)
			}
		})
	}
}

// TestOneBadKeySpoilsNoOther: RFC 7517 section 5.
func TestOneBadKeySpoilsNoOther(t *testing.T) {
	good := newKey(t, "good", "ES256")
	document, err := json.Marshal(object{"keys": []any{
		object{"kty": "AKP"}, members(t, good.Private.Public(), object{"kid": "good"}), object{"kty": "RSA"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	set, err := parseKeys(document, defaultAlgorithms(), nil)
	if err != nil || len(set.keys) != 1 || len(set.skipped) != 2 {
		t.Errorf("got %+v, %v", set, err)
	}
}

// TestKeysKeepTheirIdentity: a key that stays is the same one, so that what
// it verified stays verified; one whose name or use changes is another.
func TestKeysKeepTheirIdentity(t *testing.T) {
	a, b := newKey(t, "a", "ES256"), newKey(t, "b", "ES256")
	first, err := parseKeys([]byte(keySetOf(t, a, b)), defaultAlgorithms(), nil)
	if err != nil {
		t.Fatal(err)
	}
	b.ID = "c"
	second, err := parseKeys([]byte(keySetOf(t, b, a)), defaultAlgorithms(), first)
	if err != nil {
		t.Fatal(err)
	}
	retireKeys(first, second)
	got := []bool{second.keys[1] == first.keys[0], first.keys[0].revoked.Load(), first.keys[1].revoked.Load(), second.keys[0].revoked.Load()}
	if diff := cmp.Diff([]bool{true, false, true, false}, got); diff != "" {
		t.Error(diff)
	}
}

// TestCandidatesAreBounded: however many keys share a name, one token costs
// few signatures.
func TestCandidatesAreBounded(t *testing.T) {
	set := &keySet{}
	for range 50 {
		set.keys = append(set.keys, &verificationKey{id: "k", algorithms: []string{"RS256"}})
	}
	for _, id := range []string{"", "k"} {
		if n := len(set.find(id, "RS256")); n != maxCandidates {
			t.Errorf("id %q: %d candidates", id, n)
		}
	}
	if n := len(set.find("other", "RS256")); n != 0 {
		t.Errorf("%d candidates of another name", n)
	}
}

func (c *cache) len() int {
	n := 0
	for i := range c.shards {
		c.shards[i].mu.RLock()
		n += len(c.shards[i].entries)
		c.shards[i].mu.RUnlock()
	}
	return n
}

func TestCacheIsBounded(t *testing.T) {
	const size = 160
	c := newCache(size)
	digests := newDigester()
	now := good()["iat"].(int64)
	for n := range 10 * size {
		c.put(digests.sum(fmt.Sprint(n)), &verdict{until: time.Unix(now+int64(n), 0)})
	}
	if n := c.len(); n > size || n < size/2 {
		t.Errorf("%d entries of at most %d", n, size)
	}
}

func TestDigests(t *testing.T) {
	d := newDigester()
	if d.mac == nil {
		t.Fatal("no GMAC")
	}
	seen := map[digest]string{}
	for n := 0; n < maxToken; n += 1 + n/40 {
		for _, text := range []string{strings.Repeat("a", n), strings.Repeat("a", n) + "b"} {
			sum := d.sum(text)
			if other, twice := seen[sum]; twice && other != text {
				t.Fatalf("%d and %d bytes have one digest", len(other), len(text))
			}
			seen[sum] = text
		}
	}
	if first, again := d.sum("x"), d.sum("x"); first != again || first == newDigester().sum("x") {
		t.Error("a digest must depend on its text and the process's key, and nothing else")
	}
	without := &digester{}
	if without.sum("x") != digestOf("x") {
		t.Error("without GMAC the digest must be SHA-256")
	}
}
