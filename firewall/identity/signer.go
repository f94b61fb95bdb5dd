package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws/jwsbb"
)

const (
	// minTokenLife keeps a token of an ending credential good while the one
	// request that it goes with is on its way.
	minTokenLife = 5 * time.Second

	maxSigned = 10_000
)

// SignerOptions says what a [Signer] writes. All members are required.
type SignerOptions struct {
	// Key is a private key in PEM: PKCS #8, or an EC or RSA key in its own
	// form. Its type gives the algorithm: ES256, ES384, ES512, EdDSA or, of
	// at least 2048 bits, RS256.
	Key []byte
	// Issuer and Audience are the "iss" and "aud" of the tokens.
	Issuer, Audience string
	// TTL is how long a new token is good. An identity's token is used again
	// for half of it.
	TTL time.Duration
}

// Signer writes JSON Web Tokens that tell a service behind the firewall who
// was identified. Their claims: iss, aud, iat, exp; sub, roles, scope and
// client_id where the identity has them; idp, the identity's own issuer, where
// it has one; auth_method. A token ends with the identity at the latest, though
// never in less than 5 seconds. It is safe for concurrent use.
type Signer struct {
	options   SignerOptions
	key       crypto.Signer
	algorithm string
	header    string // encoded
	id        string

	mu       sync.Mutex
	young    map[string]issuedToken
	old      map[string]issuedToken
	replaced time.Time
}

type issuedToken struct {
	text  string
	until time.Time
}

// NewSigner reads the key. The error never shows any of it.
func NewSigner(o SignerOptions) (*Signer, error) {
	key, err := parsePrivateKey(o.Key)
	if err != nil {
		return nil, err
	}
	s := &Signer{options: o, key: key, young: map[string]issuedToken{}}
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		s.algorithm = map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[k.Curve.Params().BitSize]
	case ed25519.PrivateKey:
		s.algorithm = "EdDSA"
	case *rsa.PrivateKey:
		if k.N.BitLen() < minRSABits {
			return nil, fmt.Errorf("the RSA key has %d bits, fewer than %d", k.N.BitLen(), minRSABits)
		}
		s.algorithm = "RS256"
	}
	if s.algorithm == "" {
		return nil, errors.New("the key is neither EC on P-256, P-384 or P-521, nor Ed25519, nor RSA")
	}
	public, err := jwk.Import(key.Public())
	if err != nil {
		return nil, errors.New("the key's public half cannot be read")
	}
	print, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, errors.New("the key's public half has no thumbprint")
	}
	s.id = base64.RawURLEncoding.EncodeToString(print)
	header, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		ID        string `json:"kid"`
		Type      string `json:"typ"`
	}{s.algorithm, s.id, "JWT"})
	s.header = base64.RawURLEncoding.EncodeToString(header)
	return s, err
}

func parsePrivateKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("holds no PEM block")
	}
	var parsed any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		parsed, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("holds a %q, not a private key", block.Type)
	}
	key, ok := parsed.(crypto.Signer)
	if err != nil || !ok {
		return nil, errors.New("holds no private key that can sign")
	}
	return key, nil
}

// KeyID is the "kid" of the tokens: the key's RFC 7638 thumbprint by SHA-256.
func (s *Signer) KeyID() string { return s.id }

// Token returns a token for id, signed now or within the last half of the TTL
// for an identity that is equal in all that the token says.
func (s *Signer) Token(id *Identity, now time.Time) (string, error) {
	key := signedKey(id)
	s.mu.Lock()
	known, ok := s.young[string(key)]
	if !ok {
		known, ok = s.old[string(key)]
	}
	s.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.text, nil
	}
	text, expiry, err := s.sign(id, now)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// What is older than the TTL is of no use, so two halves that take turns
	// forget without looking at each.
	if len(s.young) >= maxSigned/2 || now.Sub(s.replaced) > s.options.TTL {
		s.old, s.young, s.replaced = s.young, map[string]issuedToken{}, now
	}
	s.young[string(key)] = issuedToken{text, now.Add(expiry.Sub(now) / 2)}
	return text, nil
}

// signedKey is injective over what a token says of an identity.
func signedKey(id *Identity) []byte {
	key := make([]byte, 0, 256)
	text := func(t string) {
		key = append(binary.AppendUvarint(key, uint64(len(t))), t...)
	}
	text(id.Subject)
	text(id.Issuer)
	text(id.Method)
	text(id.Client.ID)
	for _, list := range [][]string{id.Roles, id.Scopes} {
		key = binary.AppendUvarint(key, uint64(len(list)))
		for _, t := range list {
			text(t)
		}
	}
	return binary.AppendVarint(key, id.Expiry.Unix())
}

func (s *Signer) sign(id *Identity, now time.Time) (string, time.Time, error) {
	expiry := now.Add(s.options.TTL)
	if !id.Expiry.IsZero() && id.Expiry.Before(expiry) {
		expiry = id.Expiry
	}
	if least := now.Add(minTokenLife); expiry.Before(least) {
		expiry = least
	}
	payload, err := json.Marshal(struct {
		Issuer   string   `json:"iss"`
		Audience string   `json:"aud"`
		Issued   int64    `json:"iat"`
		Expiry   int64    `json:"exp"`
		Subject  string   `json:"sub,omitzero"`
		Roles    []string `json:"roles,omitzero"`
		Scope    string   `json:"scope,omitzero"`
		Client   string   `json:"client_id,omitzero"`
		Provider string   `json:"idp,omitzero"`
		Method   string   `json:"auth_method"`
	}{s.options.Issuer, s.options.Audience, now.Unix(), expiry.Unix(), id.Subject, id.Roles, strings.Join(id.Scopes, " "),
		id.Client.ID, id.Issuer, id.Method})
	if err != nil {
		return "", expiry, err
	}
	input := s.header + "." + base64.RawURLEncoding.EncodeToString(payload)
	signature, err := jwsbb.Sign(s.key, s.algorithm, []byte(input), nil)
	if err != nil {
		return "", expiry, fmt.Errorf("signing an internal token: %w", err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), expiry, nil
}
