package identity

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/lestrrat-go/jwx/v3/jwk"

	"github.com/graphward/graphward/firewall/identity/identitytest"
)

const (
	issuerA = "https://a.example.com"
	issuerB = "https://b.example.com"
)

// arena is two issuers of which a verifier knows the keys, an attacker with
// a key of his own, and an API key.
type arena struct {
	verifier          *Verifier
	rsa, ec, b, thief *identitytest.Key
}

func newArena(t testing.TB) *arena {
	t.Helper()
	a := &arena{rsa: newKey(t, "rsa", "RS256"), ec: newKey(t, "ec", "ES256"), b: newKey(t, "b", "ES256"), thief: newKey(t, "rsa", "RS256")}
	hash := sha256.Sum256([]byte("the-api-key"))
	a.verifier = newVerifier(t, Config{
		Anonymous: Allow, // so that a failure that became anonymous would show
		JWT: []JWTConfig{
			{Issuer: issuerA, JWKSFile: writeFile(t, "a.json", keySetOf(t, a.rsa, a.ec)), Audiences: []string{audience}, Cookie: "session"},
			{Issuer: issuerB, JWKSFile: writeFile(t, "b.json", keySetOf(t, a.b)), Audiences: []string{audience}, Algorithms: []string{"ES256"}},
		},
		APIKeys: &APIKeysConfig{File: writeFile(t, "keys.yaml", fmt.Sprintf("- {id: k1, sha256: %x}\n", hash))},
	})
	return a
}

func newKey(t testing.TB, id, algorithm string) *identitytest.Key {
	t.Helper()
	key, err := identitytest.NewKey(id, algorithm)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keySetOf(t testing.TB, keys ...*identitytest.Key) string {
	t.Helper()
	list := make([]jwk.Key, len(keys))
	for i, key := range keys {
		var err error
		if list[i], err = key.JWK(); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(map[string]any{"keys": list})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// forged describes a token by its differences from a good one of issuer A.
// A nil value takes a member away.
type forged struct {
	header    map[string]any
	claims    map[string]any
	rawHeader string // instead of header
	rawClaims string // instead of claims
	key       func(*arena) *identitytest.Key
	sign      func(a *arena, input string) []byte // instead of key
	bend      func(token string) string
}

func good() map[string]any {
	now := time.Now()
	return map[string]any{"iss": issuerA, "sub": "u1", "aud": audience, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
}

func patched(base, patch map[string]any) string {
	maps.Copy(base, patch)
	maps.DeleteFunc(base, func(_ string, value any) bool { return value == nil })
	text, err := json.Marshal(base)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func (f *forged) token(t testing.TB, a *arena) string {
	t.Helper()
	header, claims := f.rawHeader, f.rawClaims
	if header == "" {
		header = patched(map[string]any{"alg": "RS256", "kid": "rsa", "typ": "JWT"}, f.header)
	}
	if claims == "" {
		claims = patched(good(), f.claims)
	}
	encode := base64.RawURLEncoding.EncodeToString
	var text string
	if f.sign != nil {
		input := encode([]byte(header)) + "." + encode([]byte(claims))
		text = input + "." + encode(f.sign(a, input))
	} else {
		key := a.rsa
		if f.key != nil {
			key = f.key(a)
		}
		var err error
		if text, err = key.Sign([]byte(header), []byte(claims)); err != nil {
			t.Fatal(err)
		}
	}
	if f.bend != nil {
		text = f.bend(text)
	}
	return text
}

func byEC(a *arena) *identitytest.Key    { return a.ec }
func byB(a *arena) *identitytest.Key     { return a.b }
func byThief(a *arena) *identitytest.Key { return a.thief }

func bytesOf(n int) func(*arena, string) []byte {
	return func(*arena, string) []byte { return make([]byte, n) }
}

// hmacOfPublicKey signs by HMAC with what everyone knows of A's RSA key.
func hmacOfPublicKey(secret func(der []byte) []byte) func(*arena, string) []byte {
	return func(a *arena, input string) []byte {
		der, err := x509.MarshalPKIXPublicKey(a.rsa.Private.Public())
		if err != nil {
			panic(err)
		}
		mac := hmac.New(sha256.New, secret(der))
		mac.Write([]byte(input))
		return mac.Sum(nil)
	}
}

func thiefJWK(t testing.TB, a *arena) map[string]any {
	t.Helper()
	key, err := a.thief.JWK()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	return members
}

type object = map[string]any

func tokenAttacks(t testing.TB, a *arena) map[string]struct {
	forged
	reason string
} {
	now := time.Now().Unix()
	type attack = struct {
		forged
		reason string
	}
	list := map[string]attack{
		// The algorithm.
		"alg none":                           {forged{header: object{"alg": "none"}, sign: bytesOf(0)}, "empty part"},
		"alg none with a signature":          {forged{header: object{"alg": "none"}}, "no key"},
		"alg none without a key id":          {forged{header: object{"alg": "none", "kid": nil}}, "no key"},
		"alg NoNe":                           {forged{header: object{"alg": "NoNe"}}, "no key"},
		"alg missing":                        {forged{header: object{"alg": nil}}, "no alg"},
		"alg a number":                       {forged{header: object{"alg": 1}}, "not a string"},
		"alg in another case":                {forged{rawHeader: `{"Alg":"RS256","kid":"rsa"}`}, "no alg"},
		"HS256 keyed with the public key":    {forged{header: object{"alg": "HS256"}, sign: hmacOfPublicKey(func(der []byte) []byte { return der })}, "no key"},
		"HS256 keyed with the PEM":           {forged{header: object{"alg": "HS256", "kid": nil}, sign: hmacOfPublicKey(publicPEM)}, "no key"},
		"ES256 with the RSA key":             {forged{header: object{"alg": "ES256"}, sign: bytesOf(64)}, "no key"},
		"RS256 with the EC key":              {forged{header: object{"kid": "ec"}}, "no key"},
		"PS256 with a key for RS256":         {forged{header: object{"alg": "PS256"}}, "no key"},
		"an algorithm that is not allowed":   {forged{header: object{"alg": "ES256K", "kid": "ec"}, key: byEC}, "no key"},
		"an all-zero ECDSA signature":        {forged{header: object{"alg": "ES256", "kid": "ec"}, sign: bytesOf(64)}, "signature does not hold"},
		"an ECDSA signature in ASN.1":        {forged{header: object{"alg": "ES256", "kid": "ec"}, sign: asn1Signature}, "signature does not hold"},
		"an ECDSA signature of r=0, s=n":     {forged{header: object{"alg": "ES256", "kid": "ec"}, sign: orderSignature}, "signature does not hold"},
		"an all-zero RSA signature":          {forged{sign: bytesOf(256)}, "signature does not hold"},
		"a short signature":                  {forged{sign: bytesOf(1)}, "signature does not hold"},
		"the signature of the header's kind": {forged{header: object{"alg": "ES256", "kid": "ec"}}, "signature does not hold"},

		// The key.
		"the right key id, another key":    {forged{key: byThief}, "signature does not hold"},
		"an unknown key id":                {forged{header: object{"kid": "other"}}, "no key"},
		"a key id that is a path":          {forged{header: object{"kid": "../../../dev/null"}, sign: bytesOf(32)}, "no key"},
		"a key id that is SQL":             {forged{header: object{"kid": "x' UNION SELECT 'secret"}}, "no key"},
		"a key id that is a number":        {forged{header: object{"kid": 1}}, "not a string"},
		"a key id that is a list":          {forged{header: object{"kid": []any{"rsa"}}}, "not a string"},
		"an empty key id":                  {forged{header: object{"kid": ""}}, "empty kid"},
		"a null key id":                    {forged{rawHeader: `{"alg":"RS256","kid":null}`}, "not a string"},
		"another issuer's key":             {forged{header: object{"alg": "ES256", "kid": "b"}, key: byB}, "no key"},
		"another issuer's key, no key id":  {forged{header: object{"alg": "ES256", "kid": nil}, key: byB}, "signature does not hold"},
		"the key in the token, jwk":        {forged{header: object{"jwk": thiefJWK(t, a)}, key: byThief}, "signature does not hold"},
		"the key in the token, no key id":  {forged{header: object{"jwk": thiefJWK(t, a), "kid": nil}, key: byThief}, "signature does not hold"},
		"the key at a URL, jku":            {forged{header: object{"jku": "http://127.0.0.1:1/jwks"}, key: byThief}, "signature does not hold"},
		"the key at a URL, x5u":            {forged{header: object{"x5u": "http://127.0.0.1:1/x"}, key: byThief}, "signature does not hold"},
		"the key in a certificate, x5c":    {forged{header: object{"x5c": []any{"MIIB"}}, key: byThief}, "signature does not hold"},
		"expired and badly signed at once": {forged{key: byThief, claims: object{"exp": now - 3600}}, "signature does not hold"},

		// The header.
		"crit":                            {forged{header: object{"crit": []any{"exp"}}}, "crit"},
		"crit null":                       {forged{rawHeader: `{"alg":"RS256","kid":"rsa","crit":null}`}, "crit"},
		"b64 false":                       {forged{header: object{"b64": false}}, "b64"},
		"compressed":                      {forged{header: object{"zip": "DEF"}}, "zip"},
		"enc in a JWS":                    {forged{header: object{"enc": "A256GCM"}}, "enc"},
		"a nested token":                  {forged{header: object{"cty": "JWT"}}, "nested"},
		"a token of another kind":         {forged{header: object{"typ": "secevent+jwt"}}, "type"},
		"a DPoP proof":                    {forged{header: object{"typ": "dpop+jwt"}}, "type"},
		"typ a number":                    {forged{header: object{"typ": 5}}, "not a string"},
		"a duplicate alg":                 {forged{rawHeader: `{"alg":"none","alg":"RS256","kid":"rsa"}`}, "duplicate"},
		"a duplicate alg, escaped":        {forged{rawHeader: `{"alg":"RS256","\u0061lg":"none","kid":"rsa"}`}, "duplicate"},
		"text after the header":           {forged{rawHeader: `{"alg":"RS256","kid":"rsa"}{}`}, "text after"},
		"a header that is a list":         {forged{rawHeader: `["RS256"]`}, "not a JSON object"},
		"a header longer than its bound":  {forged{header: object{"x5c": []any{strings.Repeat("A", 3100)}}}, "longer than"},
		"a header that is deeply nested":  {forged{rawHeader: `{"alg":"RS256","kid":"rsa","x":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + "}"}, "nested deeper"},
		"a header with invalid UTF-8":     {forged{rawHeader: "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"x\":\"\xff\"}"}, "UTF-8"},
		"a header with a byte order mark": {forged{rawHeader: "\uFEFF" + `{"alg":"RS256","kid":"rsa"}`}, "not a JSON object"},

		// The times.
		"expired":              {forged{claims: object{"exp": now - 31}}, "expired"},
		"exp missing":          {forged{claims: object{"exp": nil}}, "exp is missing"},
		"exp a string":         {forged{claims: object{"exp": fmt.Sprint(now + 60)}}, "exp is not a number"},
		"exp null":             {forged{rawClaims: rawClaims(`"exp":null`)}, "exp is not a number"},
		"exp negative":         {forged{claims: object{"exp": -1}}, "exp is not a date"},
		"exp beyond all dates": {forged{rawClaims: rawClaims(`"exp":1e400`)}, "exp is not a date"},
		"exp wrapping around":  {forged{rawClaims: rawClaims(`"exp":9223372036854775808`)}, "exp is not a date"},
		"not valid yet":        {forged{claims: object{"nbf": now + 61}}, "not valid yet"},
		"nbf a string":         {forged{claims: object{"nbf": "0"}}, "nbf is not a number"},
		"issued in the future": {forged{claims: object{"iat": now + 61}}, "not valid yet"},
		"iat an object":        {forged{claims: object{"iat": object{}}}, "iat is not a number"},
		"exp an array":         {forged{rawClaims: rawClaims(fmt.Sprintf(`"exp":[%d]`, now+60))}, "exp is not a number"},

		// Issuer, audience, subject.
		"iss missing":                  {forged{claims: object{"iss": nil}}, "iss is missing"},
		"iss unknown":                  {forged{claims: object{"iss": "https://evil.example.com"}}, "not configured"},
		"iss with a slash":             {forged{claims: object{"iss": issuerA + "/"}}, "not configured"},
		"iss in another case":          {forged{claims: object{"iss": strings.ToUpper(issuerA)}}, "not configured"},
		"iss a list":                   {forged{claims: object{"iss": []any{issuerA}}}, "iss is missing or not a text"},
		"iss of the other issuer":      {forged{claims: object{"iss": issuerB}}, "no key"},
		"the other issuer as this one": {forged{header: object{"alg": "ES256", "kid": "ec"}, key: byB}, "signature does not hold"},
		"aud missing":                  {forged{claims: object{"aud": nil}}, "aud is missing"},
		"aud wrong":                    {forged{claims: object{"aud": "https://other.example.com"}}, "none of the configured audiences"},
		"aud a prefix":                 {forged{claims: object{"aud": audience[:len(audience)-1]}}, "none of the configured audiences"},
		"aud empty":                    {forged{claims: object{"aud": ""}}, "none of the configured audiences"},
		"aud an array of others":       {forged{claims: object{"aud": []any{"x", "y"}}}, "none of the configured audiences"},
		"aud an empty array":           {forged{claims: object{"aud": []any{}}}, "none of the configured audiences"},
		"aud an array with a number":   {forged{claims: object{"aud": []any{audience, 1}}}, "not a string"},
		"aud an object":                {forged{claims: object{"aud": object{audience: true}}}, "neither a string nor an array"},
		"sub missing":                  {forged{claims: object{"sub": nil}}, "sub is missing"},
		"sub empty":                    {forged{claims: object{"sub": ""}}, "sub is missing"},
		"sub a number":                 {forged{claims: object{"sub": 1}}, "sub is missing"},
		"sub null":                     {forged{rawClaims: rawClaims(`"sub":null`)}, "sub is missing"},
		"roles a number":               {forged{claims: object{"roles": 1}}, "roles is neither"},
		"roles with an object":         {forged{claims: object{"roles": []any{"a", object{}}}}, "roles has an element"},
		"scope an object":              {forged{claims: object{"scope": object{"admin": true}}}, "scope is neither"},
		"client a list":                {forged{claims: object{"client_id": []any{"web"}}}, "client_id is not a string"},
		"bound to a key":               {forged{claims: object{"cnf": object{"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}}, "bound"},
		"bound to a certificate":       {forged{claims: object{"cnf": object{"x5t#S256": base64.RawURLEncoding.EncodeToString(make([]byte, 32))}}}, "another client certificate"},
		"bound to nothing":             {forged{claims: object{"cnf": object{}}}, "bound"},
		"bound, but how is a string":   {forged{claims: object{"cnf": "x5t#S256"}}, "bound"},

		// The claims' JSON.
		"a duplicate sub":               {forged{rawClaims: rawClaims(`"sub":"u1","sub":"admin"`)}, "duplicate"},
		"a duplicate sub, escaped":      {forged{rawClaims: rawClaims(`"sub":"u1","\u0073ub":"admin"`)}, "duplicate"},
		"a duplicate in depth":          {forged{rawClaims: rawClaims(`"realm_access":{"roles":[],"roles":["admin"]}`)}, "duplicate"},
		"claims that are a list":        {forged{rawClaims: `[{}]`}, "not a JSON object"},
		"claims that are a string":      {forged{rawClaims: `"x"`}, "not a JSON object"},
		"claims that are no JSON":       {forged{rawClaims: `{"iss":`}, "not strict JSON"},
		"text after the claims":         {forged{rawClaims: rawClaims(`"x":1`) + "x"}, "text after"},
		"claims with a byte order mark": {forged{rawClaims: "\uFEFF" + rawClaims(`"x":1`)}, "not a JSON object"},
		"claims with invalid UTF-8":     {forged{rawClaims: rawClaims("\"x\":\"\xff\"")}, "UTF-8"},
		"claims with a lone surrogate":  {forged{rawClaims: rawClaims(`"x":"\ud800"`)}, "not strict JSON"},
		"claims with a comment":         {forged{rawClaims: rawClaims(`"x":1/**/`)}, "not strict JSON"},
		"claims with NaN":               {forged{rawClaims: rawClaims(`"x":NaN`)}, "not strict JSON"},
		"deeply nested claims":          {forged{rawClaims: rawClaims(`"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000))}, "nested deeper"},

		// The compact form.
		"20,000 dots":   {forged{bend: func(string) string { return strings.Repeat(".", 20_000) }}, "longer than"},
		"8,000 dots":    {forged{bend: func(string) string { return strings.Repeat(".", 8_000) }}, "compact form"},
		"a giant token": {forged{claims: object{"x": strings.Repeat("x", 9000)}}, "longer than"},
		"a part more":   {forged{bend: func(s string) string { return s + ".x" }}, "compact form"},
		"a JWE": {forged{bend: func(string) string {
			return "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA"
		}}, "compact form"},
		"no dots":                      {forged{bend: func(s string) string { return strings.ReplaceAll(s, ".", "") }}, "compact form"},
		"only dots":                    {forged{bend: func(string) string { return ".." }}, "empty part"},
		"without signature":            {forged{bend: func(s string) string { return s[:strings.LastIndex(s, ".")+1] }}, "empty part"},
		"JSON serialization":           {forged{bend: func(string) string { return `{"payload":"e30","signatures":[]}` }}, "compact form"},
		"base64 with padding":          {forged{bend: func(s string) string { return s + "==" }}, "signature is not base64url"},
		"base64 with stray bits":       {forged{bend: strayBits}, "signature is not base64url"},
		"base64 of the other alphabet": {forged{bend: func(s string) string { return s[:len(s)-4] + "+/AA" }}, "signature is not base64url"},
		"a line break within":          {forged{bend: func(s string) string { return s[:len(s)-4] + "\n" + s[len(s)-4:] }}, "signature is not base64url"},
		"a blank behind":               {forged{bend: func(s string) string { return s + " " }}, "signature is not base64url"},
		"another token behind a comma": {forged{bend: func(s string) string { return s + ",x" }}, "signature is not base64url"},
		"other claims, same signature": {forged{bend: otherClaims}, "signature does not hold"},
		"the header's first character": {forged{bend: func(s string) string { return "x" + s[1:] }}, "token header"},
	}
	return list
}

// rawClaims is the text of good claims with members added or put before
// those of the same name, which then are left out.
func rawClaims(members string) string {
	claims := good()
	for name := range claims {
		if strings.Contains(members, `"`+name+`":`) {
			delete(claims, name)
		}
	}
	return "{" + members + "," + strings.TrimPrefix(patched(claims, nil), "{")
}

func publicPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func asn1Signature(a *arena, input string) []byte {
	hash := sha256.Sum256([]byte(input))
	signature, err := ecdsa.SignASN1(rand.Reader, a.ec.Private.(*ecdsa.PrivateKey), hash[:])
	if err != nil {
		panic(err)
	}
	return signature
}

func orderSignature(a *arena, _ string) []byte {
	signature := make([]byte, 64)
	a.ec.Private.(*ecdsa.PrivateKey).Params().N.FillBytes(signature[32:])
	return signature
}

// strayBits sets the bits of the last character that no byte has.
func strayBits(text string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, text[len(text)-1])
	return text[:len(text)-1] + string(alphabet[last|1])
}

func otherClaims(text string) string {
	parts := strings.Split(text, ".")
	claims := patched(good(), object{"sub": "admin"})
	return parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + "." + parts[2]
}

// TestTokenAttacks is every way to forge or misuse a token that we know of:
// an error each, never the anonymous identity, which this config allows.
func TestTokenAttacks(t *testing.T) {
	a := newArena(t)
	for name, attack := range tokenAttacks(t, a) {
		t.Run(name, func(t *testing.T) {
			text := attack.token(t, a)
			refused(t, a.verifier, attack.reason, text, func() *http.Request { return request("Authorization", "Bearer "+text) })
		})
	}
}

// refused demands that a request is refused for the reason, also when it
// comes again.
func refused(t *testing.T, v *Verifier, reason, secret string, r func() *http.Request) {
	t.Helper()
	for range 2 {
		id, err := v.Authenticate(r())
		recalls(t, v, r(), id, err)
		if err == nil {
			t.Fatalf("got %+v", id)
		}
		refusal, ok := err.(*UnauthenticatedError)
		if !ok || id != nil {
			t.Fatalf("got %v and a %T: %v", id, err, err)
		}
		if !strings.Contains(refusal.Reason, reason) {
			t.Errorf("reason %q, not %q", refusal.Reason, reason)
		}
		if refusal.Challenge == "" || strings.Contains(refusal.Challenge, refusal.Reason) {
			t.Errorf("challenge %q", refusal.Challenge)
		}
		if len(secret) > 8 && strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows the credential: %v", err)
		}
	}
}

// TestGoodTokens is what is like an attack and is none.
func TestGoodTokens(t *testing.T) {
	a := newArena(t)
	now := time.Now().Unix()
	for name, f := range map[string]forged{
		"plain":                            {},
		"no key id":                        {header: object{"kid": nil}},
		"no typ":                           {header: object{"typ": nil}},
		"typ at+jwt":                       {header: object{"typ": "at+jwt"}},
		"typ application/AT+JWT":           {header: object{"typ": "application/AT+JWT"}},
		"an embedded key that is not used": {header: object{"jwk": thiefJWK(t, a), "jku": "https://evil.example.com", "x5u": "https://evil.example.com"}},
		"an x5c chain that is not used":    {header: object{"x5c": []any{strings.Repeat("A", 2000)}}},
		"an unknown header parameter":      {header: object{"nonce": "x"}},
		"aud an array":                     {claims: object{"aud": []any{"x", audience}}},
		"just expired, within the leeway":  {claims: object{"exp": now - 20}},
		"not valid yet, within the leeway": {claims: object{"nbf": now + 20, "iat": now + 20}},
		"times with fractions":             {rawClaims: rawClaims(fmt.Sprintf(`"exp":%d.75,"iat":%de0`, now+60, now-1))},
		"no iat":                           {claims: object{"iat": nil}},
		"the EC key":                       {header: object{"alg": "ES256", "kid": "ec"}, key: byEC},
		"the other issuer":                 {header: object{"alg": "ES256", "kid": "b"}, claims: object{"iss": issuerB}, key: byB},
		"large numbers":                    {rawClaims: rawClaims(`"n":123456789012345678901234567890`)},
	} {
		t.Run(name, func(t *testing.T) {
			text := f.token(t, a)
			id, err := a.verifier.Authenticate(request("Authorization", "Bearer "+text))
			recalls(t, a.verifier, request("Authorization", "Bearer "+text), id, err)
			if err != nil {
				t.Fatal(err)
			}
			if !id.Authenticated || id.Subject != "u1" || id.Method != MethodJWT {
				t.Errorf("got %+v", id)
			}
		})
	}
}

// TestRequestAttacks is what goes wrong around a good credential.
func TestRequestAttacks(t *testing.T) {
	a := newArena(t)
	jwt := (&forged{}).token(t, a)
	ofB := (&forged{header: object{"alg": "ES256", "kid": "b"}, claims: object{"iss": issuerB}, key: byB}).token(t, a)
	for name, test := range map[string]struct {
		headers []string
		reason  string
	}{
		"Authorization twice":             {[]string{"Authorization", "Bearer " + jwt, "Authorization", "Bearer " + jwt}, "more than one"},
		"Authorization twice, one empty":  {[]string{"Authorization", "", "Authorization", "Bearer " + jwt}, "more than one"},
		"Authorization empty":             {[]string{"Authorization", ""}, "scheme"},
		"Bearer without token":            {[]string{"Authorization", "Bearer"}, "empty"},
		"Bearer and blanks":               {[]string{"Authorization", "Bearer   "}, "empty"},
		"no scheme":                       {[]string{"Authorization", jwt}, "scheme"},
		"Basic":                           {[]string{"Authorization", "Basic dTpw"}, "scheme"},
		"a tab instead of a blank":        {[]string{"Authorization", "Bearer\t" + jwt}, "scheme"},
		"a token and an API key":          {[]string{"Authorization", "Bearer " + jwt, "X-API-Key", "the-api-key"}, "more than one"},
		"an API key in both headers":      {[]string{"Authorization", "ApiKey the-api-key", "X-API-Key", "the-api-key"}, "more than one"},
		"two API keys":                    {[]string{"X-API-Key", "the-api-key", "X-API-Key", "x"}, "more than one"},
		"an empty API key":                {[]string{"X-API-Key", ""}, "empty"},
		"an unknown API key":              {[]string{"X-API-Key", "the-api-kez"}, "unknown"},
		"an API key's digest":             {[]string{"X-API-Key", fmt.Sprintf("%x", sha256.Sum256([]byte("the-api-key")))}, "unknown"},
		"an API key's id":                 {[]string{"X-API-Key", "k1"}, "unknown"},
		"an API key as a token":           {[]string{"Authorization", "Bearer the-api-key"}, "compact form"},
		"a token as an API key":           {[]string{"X-API-Key", jwt}, "API key"},
		"a giant API key":                 {[]string{"X-API-Key", strings.Repeat("k", 9000)}, "longer than"},
		"a cookie and a header":           {[]string{"Authorization", "Bearer " + jwt, "Cookie", "session=" + jwt}, "more than one"},
		"a cookie and an API key":         {[]string{"X-API-Key", "the-api-key", "Cookie", "session=" + jwt}, "more than one"},
		"the cookie twice":                {[]string{"Cookie", "session=" + jwt + "; session=" + jwt}, "more than one"},
		"the cookie twice, two headers":   {[]string{"Cookie", "session=" + jwt, "Cookie", "session=x"}, "more than one"},
		"an empty cookie":                 {[]string{"Cookie", "session="}, "empty"},
		"a bad token in the cookie":       {[]string{"Cookie", "session=x.y.z"}, "token header"},
		"a cookie of another issuer":      {[]string{"Cookie", "session=" + ofB}, "not the one of the cookie"},
		"a client header against a token": {[]string{"Authorization", "Bearer " + jwt, "graphql-client-name", "a", "graphql-client-name", "a"}, "repeated"},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, a.verifier, test.reason, jwt, func() *http.Request { return request(test.headers...) })
		})
	}
	for name, headers := range map[string][]string{
		"no credential":                      nil,
		"a cookie of another name":           {"Cookie", "other=" + jwt},
		"a proxy's credential":               {"Proxy-Authorization", "Basic dTpw"},
		"a client header that nobody listed": {"graphql-client-name", "a"},
	} {
		t.Run(name, func(t *testing.T) {
			id, err := a.verifier.Authenticate(request(headers...))
			recalls(t, a.verifier, request(headers...), id, err)
			if err != nil || id.Authenticated || id.Method != MethodAnonymous || id.Client != (Client{}) {
				t.Errorf("got %+v, %v", id, err)
			}
		})
	}
	t.Run("the cookie alone", func(t *testing.T) {
		id, err := a.verifier.Authenticate(request("Cookie", "session="+jwt))
		if err != nil || id.Subject != "u1" {
			t.Errorf("got %+v, %v", id, err)
		}
	})
}

// TestECDSASignatureForms shows that the forms above are refused for what
// they are: the ASN.1 one is a good signature otherwise.
func TestECDSASignatureForms(t *testing.T) {
	a := newArena(t)
	f := forged{header: object{"alg": "ES256", "kid": "ec"}, sign: func(a *arena, input string) []byte {
		var parts struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(asn1Signature(a, input), &parts); err != nil {
			t.Fatal(err)
		}
		flat := make([]byte, 64)
		parts.R.FillBytes(flat[:32])
		parts.S.FillBytes(flat[32:])
		return flat
	}}
	if _, err := a.verifier.Authenticate(request("Authorization", "Bearer "+f.token(t, a))); err != nil {
		t.Error(err)
	}
}
