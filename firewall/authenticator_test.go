package firewall_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/graphward/graphward/firewall/identity"
)

// claimed authenticates as the claims that a case states; "header" reads them
// from X-Test-Claims, so that one case can have several callers.
type claimed struct {
	config *identity.Config
	claims map[string]any
}

func (c *testCase) authenticator(t *testing.T, config *identity.Config) identity.Authenticator {
	t.Helper()
	a := &claimed{config: config}
	if text, ok := c.files["as"]; ok {
		if err := json.Unmarshal([]byte(text), &a.claims); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func (a *claimed) Authenticate(r *http.Request) (*identity.Identity, error) {
	claims := a.claims
	if text := r.Header.Get("X-Test-Claims"); text != "" {
		claims = nil
		if err := json.Unmarshal([]byte(text), &claims); err != nil {
			return nil, &identity.UnauthenticatedError{Reason: err.Error(), Challenge: "Bearer"}
		}
	}
	return identity.FromClaims(a.config, "", claims, r.Header.Get("Graphql-Client-Name"))
}
