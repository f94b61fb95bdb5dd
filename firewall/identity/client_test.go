package identity

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestClientHeaders(t *testing.T) {
	rule := newClientRule(&Config{PublicClients: []string{"web", "kiosk"}})
	long := strings.Repeat("x", maxClientName+1)
	for name, test := range map[string]struct {
		client  string // the credential's
		headers []string
		want    Client
		reason  string // instead of want
	}{
		"nothing":                            {},
		"a credential's":                     {client: "app", want: Client{ID: "app", Name: "app"}},
		"a public one":                       {headers: []string{"graphql-client-name", "web"}, want: Client{ID: "web", Name: "web"}},
		"a public one with version":          {headers: []string{"graphql-client-name", "web", "graphql-client-version", "1.2"}, want: Client{ID: "web", Name: "web", Version: "1.2"}},
		"by Apollo's header":                 {headers: []string{"apollographql-client-name", "web", "apollographql-client-version", "1"}, want: Client{ID: "web", Name: "web", Version: "1"}},
		"by the third header":                {headers: []string{"x-graphql-client-name", "web"}, want: Client{ID: "web", Name: "web"}},
		"two headers that agree":             {headers: []string{"graphql-client-name", "web", "apollographql-client-name", "web"}, want: Client{ID: "web", Name: "web"}},
		"not public":                         {headers: []string{"graphql-client-name", "admin-tool"}},
		"not public, with version":           {headers: []string{"graphql-client-name", "admin-tool", "graphql-client-version", "1"}},
		"in another case":                    {headers: []string{"graphql-client-name", "Web"}},
		"a version alone":                    {headers: []string{"graphql-client-version", "1"}},
		"an empty name":                      {headers: []string{"graphql-client-name", ""}},
		"a header nobody reads":              {headers: []string{"x-client-name", "web"}},
		"the credential's again":             {client: "app", headers: []string{"graphql-client-name", "app"}, want: Client{ID: "app", Name: "app"}},
		"the credential's with version":      {client: "app", headers: []string{"graphql-client-version", "1"}, want: Client{ID: "app", Name: "app", Version: "1"}},
		"against the credential":             {client: "app", headers: []string{"graphql-client-name", "web"}, reason: "contradicts the credential"},
		"against it, not public":             {client: "app", headers: []string{"graphql-client-name", "x"}, reason: "contradicts the credential"},
		"against it, by the second header":   {client: "app", headers: []string{"graphql-client-name", "app", "apollographql-client-name", "web"}, reason: "contradicts another"},
		"repeated":                           {headers: []string{"graphql-client-name", "web", "graphql-client-name", "web"}, reason: "repeated"},
		"a repeated version":                 {headers: []string{"graphql-client-name", "web", "graphql-client-version", "1", "graphql-client-version", "1"}, reason: "repeated"},
		"two headers that differ":            {headers: []string{"graphql-client-name", "web", "x-graphql-client-name", "kiosk"}, reason: "contradicts another"},
		"a control character":                {headers: []string{"graphql-client-name", "web\x01"}, reason: "printable"},
		"beyond ASCII":                       {headers: []string{"graphql-client-name", "wéb"}, reason: "printable"},
		"too long":                           {headers: []string{"graphql-client-name", long}, reason: "printable"},
		"a version that is too long":         {client: "app", headers: []string{"graphql-client-version", long}, reason: "printable"},
		"a list, which is a name of its own": {headers: []string{"graphql-client-name", "web, kiosk"}},
	} {
		t.Run(name, func(t *testing.T) {
			id := &Identity{Subject: "s", Client: Client{ID: test.client, Name: test.client}}
			got, err := rule.apply(id, request(test.headers...).Header)
			if test.reason != "" {
				if err == nil || !strings.Contains(err.Error(), test.reason) {
					t.Errorf("got %+v, %v", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got.Client); diff != "" || got.Subject != "s" {
				t.Error(diff)
			}
			if id.Client.ID != test.client || id.Client.Version != "" {
				t.Error("the shared identity was changed")
			}
		})
	}
}

func TestNoClientHeaders(t *testing.T) {
	rule := newClientRule(&Config{ClientHeaders: []string{}, PublicClients: []string{"web"}})
	got, err := rule.apply(&Identity{}, request("graphql-client-name", "web", "graphql-client-name", "x").Header)
	if err != nil || got.Client != (Client{}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestClaimPaths(t *testing.T) {
	claims, err := decodeObject([]byte(`{
		"roles": ["a", "b"], "scope": "x  y", "none": null, "number": 1, "mixed": ["a", 1], "empty": "", "list": [],
		"realm_access": {"roles": ["r"], "deep": {"er": "d"}},
		"https://example.com/roles": ["n"], "a.b": "whole", "a": {"b": "path"}
	}`))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]any{
		"roles": []string{"a", "b"}, "scope": []string{"x", "y"}, "none": []string(nil), "absent": []string(nil),
		"empty": []string{}, "list": []string{}, "realm_access.roles": []string{"r"}, "realm_access.deep.er": []string{"d"},
		"realm_access.absent": []string(nil), "roles.x": []string(nil), "scope.x.y": []string(nil),
		"https://example.com/roles": []string{"n"}, "a.b": []string{"whole"},
		"number": "neither a string nor an array", "mixed": "has an element that is not a string", "realm_access": "neither a string nor an array",
	} {
		got, err := newClaimPath(path, "").names(claims)
		if reason, bad := want.(string); bad {
			if err == nil || !strings.Contains(err.Error(), reason) {
				t.Errorf("%s: got %v, %v", path, got, err)
			}
		} else if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", path, err, diff)
		}
	}
}

func TestNumbersKeepTheirDigits(t *testing.T) {
	claims, err := decodeObject([]byte(`{"n": 9007199254740993, "f": 1.10, "e": 1E2, "o": {"l": [-0]}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"n": json.Number("9007199254740993"), "f": json.Number("1.10"), "e": json.Number("1E2"),
		"o": map[string]any{"l": []any{json.Number("-0")}}}
	if diff := cmp.Diff(want, claims); diff != "" {
		t.Error(diff)
	}
}

func TestChallenges(t *testing.T) {
	is := newTestIssuer(t, "ES256")
	jwt := []JWTConfig{{Issuer: is.URL, JWKSFile: jwksFile(t, is), Audiences: []string{audience}}}
	keys := &APIKeysConfig{File: writeFile(t, "keys.yaml", "[]")}
	for name, test := range map[string]struct {
		config  Config
		headers []string
		want    string
	}{
		"JWT, nothing sent":    {Config{JWT: jwt}, nil, `Bearer realm="graphward"`},
		"JWT, a bad one sent":  {Config{JWT: jwt}, []string{"Authorization", "Bearer x"}, `Bearer realm="graphward", error="invalid_token"`},
		"keys, nothing sent":   {Config{APIKeys: keys}, nil, `ApiKey realm="graphward"`},
		"both, nothing sent":   {Config{JWT: jwt, APIKeys: keys}, nil, `Bearer realm="graphward", ApiKey realm="graphward"`},
		"nobody is let in":     {Config{Anonymous: Deny}, nil, `Bearer realm="graphward"`},
		"a bad client, no key": {Config{Anonymous: Allow}, []string{"graphql-client-name", "\x01"}, `Bearer realm="graphward", error="invalid_token"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newVerifier(t, test.config).Authenticate(request(test.headers...))
			refusal, ok := err.(*UnauthenticatedError)
			if !ok || refusal.Challenge != test.want {
				t.Errorf("got %#v", err)
			}
		})
	}
}

// TestOthersCredentials: without any authenticator the Authorization header
// is between the client and the upstream.
func TestOthersCredentials(t *testing.T) {
	v := newVerifier(t, Config{Anonymous: Allow})
	id, err := v.Authenticate(request("Authorization", "Bearer for-the-upstream", "X-API-Key", "k"))
	if err != nil || id.Authenticated || id.Method != MethodAnonymous {
		t.Errorf("got %+v, %v", id, err)
	}
}
