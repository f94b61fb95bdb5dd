package identity

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
)

// FromClaims returns the identity that a verified token with these claims would
// have, for `graphward explain`: it maps claims and client as Authenticate does
// and verifies nothing. issuer chooses among c.JWT; empty is the claim "iss",
// else the first issuer. Claims that no token may have are an *UnauthenticatedError; a
// missing "sub" is none, so that roles can be tried alone. Nil claims are the anonymous identity, whatever
// c.Anonymous says. client is what the client headers would name, and version
// what they would say of it. Numbers may be float64 or json.Number.
func FromClaims(c *Config, issuer string, claims map[string]any, client, version string) (*Identity, error) {
	id := &Identity{Method: MethodAnonymous}
	if claims != nil {
		var err error
		if id, err = c.assume(issuer, claims); err != nil {
			return nil, &UnauthenticatedError{Reason: err.Error(), Challenge: "Bearer"}
		}
	}
	rule := newClientRule(c)
	header := http.Header{}
	if client != "" && len(rule.headers) > 0 {
		header[rule.headers[0].name] = []string{client}
	}
	for _, h := range rule.headers {
		if version != "" && h.version != "" {
			header[h.version] = []string{version}
			break
		}
	}
	out, err := rule.apply(id, header)
	if err != nil {
		return nil, &UnauthenticatedError{Reason: err.Error(), Challenge: "Bearer"}
	}
	return out, nil
}

func (c *Config) assume(issuer string, claims map[string]any) (*Identity, error) {
	text, err := json.Marshal(claims)
	if err != nil {
		return nil, err
	}
	exact, err := decodeObject(bytes.TrimSpace(text))
	if err != nil {
		return nil, err
	}
	if issuer == "" {
		issuer, _ = exact["iss"].(string)
	}
	claimNames := ClaimsConfig{}
	found := issuer == "" && len(c.JWT) == 0
	for i := range c.JWT {
		if issuer == "" || c.JWT[i].Issuer == issuer {
			issuer, claimNames, found = c.JWT[i].Issuer, c.JWT[i].Claims, true
			break
		}
	}
	if !found && len(c.JWT) > 0 {
		return nil, fmt.Errorf("no configured issuer is %q", issuer)
	}
	id := &Identity{Authenticated: true, Issuer: issuer, Method: MethodJWT, Claims: exact}
	if _, given := exact["sub"]; given {
		if id.Subject, err = subject(exact); err != nil {
			return nil, err
		}
	}
	m := newClaimMap(claimNames)
	return id, m.apply(id)
}
