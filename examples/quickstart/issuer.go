package quickstart

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"time"
)

// IssuerName and Audience are the "iss" and "aud" that graphward.yaml expects.
const (
	IssuerName = "https://id.shop.example"
	Audience   = "shop"
)

// Person is somebody who sends requests in the examples.
type Person struct {
	// Name is what the scenes call the person.
	Name string
	// Subject is the id of the person's account in the example backend.
	Subject string
	// Roles go into the claim "roles".
	Roles []string
	// Plan goes into the claim "plan"; empty leaves it out.
	Plan string
}

// People are those whom the scenes know: a customer, an administrator, and a customer on the trial plan, whose budget is small.
var People = []Person{
	{Name: "customer", Subject: "user-3", Roles: []string{"customer"}},
	{Name: "admin", Subject: "user-1", Roles: []string{"admin"}},
	{Name: "trial", Subject: "user-4", Roles: []string{"customer"}, Plan: "trial"},
}

// Issuer signs tokens with one ES256 key, as an identity provider would. It stands in for one in examples and is good for nothing
// else. Safe for concurrent use.
type Issuer struct{ key *ecdsa.PrivateKey }

// NewIssuer makes an issuer with a new key.
func NewIssuer() (*Issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return &Issuer{key: key}, err
}

// ParseIssuer reads a key that [Issuer.PEM] wrote.
func ParseIssuer(text []byte) (*Issuer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("the signing key is not PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the signing key is not on P-256")
	}
	return &Issuer{key: key}, nil
}

// PEM returns the private key in PKCS #8.
func (i *Issuer) PEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// point returns the public key's coordinates, 32 bytes each.
func (i *Issuer) point() (x, y []byte) {
	raw, err := i.key.PublicKey.Bytes() // 0x04, x, y
	if err != nil {
		panic("a key on P-256 has no point: " + err.Error())
	}
	return raw[1:33], raw[33:]
}

// keyID is the start of the key's digest, so that another key never answers to the same name.
func (i *Issuer) keyID() string {
	x, y := i.point()
	sum := sha256.Sum256(append(append([]byte(nil), x...), y...))
	return "quickstart-" + base64.RawURLEncoding.EncodeToString(sum[:6])
}

// JWKS returns the public key as a set (RFC 7517), indented.
func (i *Issuer) JWKS() []byte {
	type key struct {
		Type      string `json:"kty"`
		Curve     string `json:"crv"`
		Algorithm string `json:"alg"`
		Use       string `json:"use"`
		ID        string `json:"kid"`
		X         string `json:"x"`
		Y         string `json:"y"`
	}
	x, y := i.point()
	set := map[string][]key{"keys": {{
		Type: "EC", Curve: "P-256", Algorithm: "ES256", Use: "sig", ID: i.keyID(),
		X: base64.RawURLEncoding.EncodeToString(x), Y: base64.RawURLEncoding.EncodeToString(y),
	}}}
	return append(must(json.MarshalIndent(set, "", "  ")), '\n')
}

// Token returns a JWT (RFC 7519) for the person that is good from now until now+ttl.
func (i *Issuer) Token(p Person, now time.Time, ttl time.Duration) (string, error) {
	claims := map[string]any{
		"iss": IssuerName, "aud": Audience, "sub": p.Subject, "roles": p.Roles,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(ttl).Unix(),
	}
	if p.Plan != "" {
		claims["plan"] = p.Plan
	}
	header := map[string]string{"alg": "ES256", "typ": "JWT", "kid": i.keyID()}
	text := base64.RawURLEncoding.EncodeToString(must(json.Marshal(header))) + "." +
		base64.RawURLEncoding.EncodeToString(must(json.Marshal(claims)))
	digest := sha256.Sum256([]byte(text))
	der, err := i.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return "", err
	}
	// RFC 7518 section 3.4 wants the two integers bare, 32 bytes each.
	var pair struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &pair); err != nil {
		return "", err
	}
	signature := make([]byte, 64)
	pair.R.FillBytes(signature[:32])
	pair.S.FillBytes(signature[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// must is for values that encoding/json cannot fail on.
func must(data []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return data
}
