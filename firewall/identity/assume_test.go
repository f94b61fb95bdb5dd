package identity

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestFromClaims: what explain assumes is what a token with the same claims
// would have got.
func TestFromClaims(t *testing.T) {
	is := newTestIssuer(t, "ES256")
	c := Config{
		PublicClients: []string{"web"},
		JWT: []JWTConfig{{Issuer: is.URL, JWKSFile: jwksFile(t, is), Audiences: []string{audience},
			Claims: ClaimsConfig{Roles: "realm_access.roles", Client: "azp"}}},
	}
	v := newVerifier(t, c)
	for name, test := range map[string]struct {
		claims map[string]any
		client string
		reason string
	}{
		"plain":                    {claims: object{"sub": "u1"}},
		"roles and scopes":         {claims: object{"sub": "u1", "realm_access": object{"roles": []any{"a"}}, "scope": "x y"}},
		"a client":                 {claims: object{"sub": "u1", "azp": "app"}, client: "app"},
		"a public client":          {claims: object{"sub": "u1"}, client: "web"},
		"a client that is unknown": {claims: object{"sub": "u1"}, client: "other"},
		"against the token":        {claims: object{"sub": "u1", "azp": "app"}, client: "web", reason: "contradicts"},
		"roles of another type":    {claims: object{"sub": "u1", "realm_access": object{"roles": 1}}, reason: "neither a string nor an array"},
		"large numbers":            {claims: object{"sub": "u1", "n": 1e15}},
	} {
		t.Run(name, func(t *testing.T) {
			claims := maps.Clone(test.claims)
			claims["aud"], claims["iss"] = audience, is.URL
			claims["iat"], claims["exp"] = time.Now().Unix(), time.Now().Add(time.Hour).Unix()
			headers := []string{"Authorization", "Bearer " + token(t, is, claims)}
			if test.client != "" {
				headers = append(headers, "graphql-client-name", test.client)
			}
			want, wantErr := v.Authenticate(request(headers...))
			got, err := FromClaims(&c, "", claims, test.client, "")
			if test.reason != "" {
				for _, err := range []error{err, wantErr} {
					if err == nil || !strings.Contains(err.Error(), test.reason) {
						t.Errorf("got %v", err)
					}
				}
				return
			}
			if err != nil || wantErr != nil {
				t.Fatal(err, wantErr)
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Identity{}, "Expiry")); diff != "" || !got.Expiry.IsZero() {
				t.Error(diff)
			}
		})
	}
	if _, err := FromClaims(&c, "https://other.example.com", object{"sub": "u1"}, "", ""); err == nil {
		t.Error("an issuer that is not configured")
	}
	if id, err := FromClaims(&c, "", nil, "web", "1.2"); err != nil || id.Authenticated || id.Client != (Client{ID: "web", Name: "web", Version: "1.2"}) {
		t.Errorf("nobody: %+v, %v", id, err)
	}
}
