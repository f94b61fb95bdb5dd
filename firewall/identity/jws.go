package identity

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

const (
	// maxToken bounds a bearer token in bytes, before anything reads it.
	maxToken = 8 << 10
	// maxHeader bounds the encoded JOSE header. It leaves room for an x5c
	// chain, which some issuers send and which is ignored.
	maxHeader = 4 << 10
)

// signedToken is a JWS in compact serialization (RFC 7515 section 7.1)
// whose signature has not been verified.
type signedToken struct {
	algorithm string
	keyID     string // empty: names no key
	claims    map[string]any
	input     []byte // what is signed
	signature []byte
}

// looksSigned reports whether a bearer token has the form of a JWS.
func looksSigned(token string) bool { return strings.Count(token, ".") == 2 }

// parseSigned reads a compact JWS that carries a claims set. It does not
// verify anything. The header's jwk, jku, x5u, x5c and x5t are not read:
// keys come from the issuer's configured source alone.
func parseSigned(token string) (*signedToken, error) {
	if len(token) > maxToken {
		return nil, fmt.Errorf("token is longer than %d bytes", maxToken)
	}
	if strings.Count(token, ".") != 2 {
		return nil, errors.New("token is not a JWS in compact form")
	}
	last := strings.LastIndexByte(token, '.')
	head, body, _ := strings.Cut(token[:last], ".")
	if len(head) > maxHeader {
		return nil, fmt.Errorf("token header is longer than %d bytes", maxHeader)
	}
	if head == "" || body == "" || last+1 == len(token) {
		return nil, errors.New("token has an empty part")
	}
	t := &signedToken{input: []byte(token[:last])}
	if err := t.readHeader(head); err != nil {
		return nil, err
	}
	payload, err := decodeBase64(body)
	if err != nil {
		return nil, errors.New("token claims are not base64url")
	}
	if t.claims, err = decodeObject(payload); err != nil {
		return nil, fmt.Errorf("token claims: %w", err)
	}
	if t.signature, err = decodeBase64(token[last+1:]); err != nil {
		return nil, errors.New("token signature is not base64url")
	}
	return t, nil
}

// decodeBase64 reads base64url without padding (RFC 7515 section 2) and
// refuses line breaks and stray bits, so that a token has one spelling.
func decodeBase64(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("line break")
	}
	return base64.RawURLEncoding.Strict().DecodeString(text)
}

func (t *signedToken) readHeader(text string) error {
	data, err := decodeBase64(text)
	if err != nil {
		return errors.New("token header is not base64url")
	}
	header, err := decodeObject(data)
	if err != nil {
		return fmt.Errorf("token header: %w", err)
	}
	for _, name := range []string{"crit", "b64", "enc", "zip"} {
		if _, present := header[name]; present {
			return fmt.Errorf("token header has %s, which is not understood", name)
		}
	}
	if t.algorithm, err = headerText(header, "alg"); err != nil {
		return err
	}
	if t.algorithm == "" {
		return errors.New("token header has no alg")
	}
	if t.keyID, err = headerText(header, "kid"); err != nil {
		return err
	}
	if _, named := header["kid"]; named && t.keyID == "" {
		return errors.New("token header has an empty kid")
	}
	kind, err := headerText(header, "typ")
	if err != nil {
		return err
	}
	switch strings.TrimPrefix(strings.ToLower(kind), "application/") {
	case "", "jwt", "at+jwt":
	default:
		return fmt.Errorf("token type %q is not accepted", kind)
	}
	content, err := headerText(header, "cty")
	if err != nil {
		return err
	}
	if content != "" {
		return errors.New("token header has cty: nested tokens are not accepted")
	}
	return nil
}

// headerText returns a header parameter that must be a string if it is there.
func headerText(header map[string]any, name string) (string, error) {
	value, present := header[name]
	if !present {
		return "", nil
	}
	text, ok := value.(string)
	if !ok {
		return "", fmt.Errorf("token header parameter %s is not a string", name)
	}
	return text, nil
}
