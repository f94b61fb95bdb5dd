package identity

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

// section is the example of DESIGN.md section 6 with every key.
const section = `
anonymous: allow
jwt:
  - issuer: https://issuer.example.com
    jwks_url: https://issuer.example.com/jwks
    audiences: [api]
    algorithms: [RS256, ES256]
    leeway: 20s
    claims: {roles: realm_access.roles, scopes: scp, client: azp}
    cookie: session
  - {issuer: "https://two.example.com", discovery: true, audiences: [api], on_unreachable: continue}
  - {issuer: three, jwks_file: keys.json, audiences: [api]}
introspection: [{url: "https://as.example.com/introspect", client_id: fw, secret_file: /run/secret, issuer: as, audiences: [api], claims: {roles: groups}}]
api_keys: {file: keys.yaml}
client_headers: [graphql-client-name]
public_clients: [web]
trusted_proxies: [10.0.0.0/8, 192.0.2.1]
`

func TestConfigFromYAML(t *testing.T) {
	var got Config
	if err := yaml.Load([]byte(section), &got, yaml.WithKnownFields()); err != nil {
		t.Fatal(err)
	}
	want := Config{
		Anonymous: Allow,
		JWT: []JWTConfig{
			{Issuer: "https://issuer.example.com", JWKSURL: "https://issuer.example.com/jwks", Audiences: []string{"api"},
				Algorithms: []string{"RS256", "ES256"}, Leeway: 20 * time.Second,
				Claims: ClaimsConfig{Roles: "realm_access.roles", Scopes: "scp", Client: "azp"}, Cookie: "session"},
			{Issuer: "https://two.example.com", Discovery: true, Audiences: []string{"api"}, OnUnreachable: Continue},
			{Issuer: "three", JWKSFile: "keys.json", Audiences: []string{"api"}},
		},
		Introspection: []IntrospectionConfig{{URL: "https://as.example.com/introspect", ClientID: "fw", SecretFile: "/run/secret",
			Issuer: "as", Audiences: []string{"api"}, Claims: ClaimsConfig{Roles: "groups"}}},
		APIKeys:        &APIKeysConfig{File: "keys.yaml"},
		ClientHeaders:  []string{"graphql-client-name"},
		PublicClients:  []string{"web"},
		TrustedProxies: []string{"10.0.0.0/8", "192.0.2.1"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if p := got.Validate(); len(p) != 0 {
		t.Errorf("problems: %v", p)
	}
}

func TestValidate(t *testing.T) {
	const jwt = "jwt: [{issuer: i, jwks_file: f, audiences: [a]%s}]"
	for name, test := range map[string]struct {
		yaml string
		want []string // "path: part of the message", in order
	}{
		"nothing":                   {"{}", []string{"anonymous: must be allow or deny"}},
		"only client headers":       {"client_headers: []", []string{"anonymous: must be"}},
		"anonymous misspelt":        {"anonymous: alow", []string{`anonymous: "alow" is neither`}},
		"an authenticator":          {fmt.Sprintf(jwt, ""), nil},
		"every list, all at once":   {"jwt: [{}, {}]\nintrospection: [{}]\napi_keys: {}", []string{"jwt[0].issuer: is required", "jwt[0]: needs exactly one of", "jwt[0].audiences: is required", "jwt[1].issuer: is required", "jwt[1]: needs exactly one of", "jwt[1].audiences: is required", "introspection[0].url: is required", "introspection[0].client_id: is required", "introspection[0].secret_file: is required", "api_keys.file: is required"}},
		"two sources of keys":       {"jwt: [{issuer: 'https://i', jwks_file: f, discovery: true, audiences: [a]}]", []string{"jwt[0]: needs exactly one"}},
		"an issuer twice":           {"jwt: [{issuer: i, jwks_file: f, audiences: [a]}, {issuer: i, jwks_file: g, audiences: [a]}]", []string{"jwt[1].issuer: is already configured at jwt[0]"}},
		"symmetric algorithms":      {fmt.Sprintf(jwt, ", algorithms: [RS256, HS256, none, rs256, ES256K]"), []string{`jwt[0].algorithms[1]: "HS256" is refused`, `jwt[0].algorithms[2]: "none" is refused`, `jwt[0].algorithms[3]: "rs256" is not one of`, `jwt[0].algorithms[4]: "ES256K" is not`}},
		"an empty audience":         {"jwt: [{issuer: i, jwks_file: f, audiences: ['']}]", []string{"jwt[0].audiences[0]: is empty"}},
		"leeway below":              {fmt.Sprintf(jwt, ", leeway: -1s"), []string{"jwt[0].leeway: -1s"}},
		"leeway above":              {fmt.Sprintf(jwt, ", leeway: 10m"), []string{"jwt[0].leeway: 10m0s"}},
		"claims with empty names":   {fmt.Sprintf(jwt, ", claims: {roles: a..b, scopes: .a, client: a.}"), []string{"jwt[0].claims.roles", "jwt[0].claims.scopes", "jwt[0].claims.client"}},
		"a claim that is a URL":     {fmt.Sprintf(jwt, ", claims: {roles: 'https://example.com/roles'}"), nil},
		"a bad cookie name":         {fmt.Sprintf(jwt, ", cookie: 'a b'"), []string{"jwt[0].cookie"}},
		"on_unreachable misspelt":   {fmt.Sprintf(jwt, ", on_unreachable: ignore"), []string{"jwt[0].on_unreachable"}},
		"keys over http":            {"jwt: [{issuer: i, jwks_url: 'http://issuer.example.com/jwks', audiences: [a]}]", []string{"jwt[0].jwks_url: \"http://issuer.example.com/jwks\" must be https"}},
		"keys over http, loopback":  {"jwt: [{issuer: i, jwks_url: 'http://127.0.0.1:8081/jwks', audiences: [a]}, {issuer: j, jwks_url: 'http://localhost/jwks', audiences: [a]}, {issuer: k, jwks_url: 'http://[::1]/jwks', audiences: [a]}]", nil},
		"http to what looks so":     {"jwt: [{issuer: i, jwks_url: 'http://127.0.0.1.example.com/jwks', audiences: [a]}]", []string{"jwt[0].jwks_url"}},
		"a password in a URL":       {"jwt: [{issuer: i, jwks_url: 'https://u:p@issuer.example.com/jwks', audiences: [a]}]", []string{"jwt[0].jwks_url"}},
		"discovery of no URL":       {"jwt: [{issuer: example, discovery: true, audiences: [a]}]", []string{"jwt[0].issuer"}},
		"introspection over http":   {"introspection: [{url: 'http://as.example.com', client_id: c, secret_file: f}]", []string{"introspection[0].url"}},
		"bad certificate clients":   {"anonymous: deny\ncertificate_clients: {a: '', 'spiffe://x/y': web}", []string{"certificate_clients.a: \"\" is not a client name"}},
		"refresh too often":         {"anonymous: deny\nrefresh: 10ms", []string{"refresh: 10ms is not between 1s and 1h0m0s"}},
		"refresh too rarely":        {"anonymous: deny\nrefresh: 24h", []string{"refresh: 24h0m0s"}},
		"bad client headers":        {"anonymous: deny\nclient_headers: [ok, 'a b', '']", []string{"client_headers[1]", "client_headers[2]"}},
		"bad public clients":        {"anonymous: deny\npublic_clients: [ok, '']", []string{"public_clients[1]"}},
		"bad proxies":               {"anonymous: deny\ntrusted_proxies: [10.0.0.0/8, 10.0.0.0/33, proxy.example.com, 0.0.0.0/0, '::/0', '::ffff:10.0.0.0/104']", []string{"trusted_proxies[1]", "trusted_proxies[2]", "trusted_proxies[3]", "trusted_proxies[4]", "trusted_proxies[5]"}},
		"anonymous allowed besides": {"anonymous: allow\n" + fmt.Sprintf(jwt, ""), nil},
	} {
		t.Run(name, func(t *testing.T) {
			var c Config
			if err := yaml.Load([]byte(test.yaml), &c, yaml.WithKnownFields()); err != nil {
				t.Fatal(err)
			}
			got := c.Validate()
			if len(got) != len(test.want) {
				t.Fatalf("got %d problems: %v", len(got), got)
			}
			for i, want := range test.want {
				if !strings.HasPrefix(got[i].String(), want) {
					t.Errorf("problem %d is %q, not %q", i, got[i], want)
				}
			}
			if _, err := New(t.Context(), c); len(got) > 0 {
				if failure, ok := err.(*ConfigError); !ok || len(failure.Problems) != len(got) {
					t.Errorf("New: %v", err)
				}
			}
		})
	}
}

func TestCheckFiles(t *testing.T) {
	is := newTestIssuer(t, "RS256")
	c := Config{
		CAFile: writeFile(t, "ca", "no certificate"),
		JWT: []JWTConfig{
			{JWKSFile: jwksFile(t, is)},
			{JWKSFile: "/does/not/exist"},
			{JWKSFile: writeFile(t, "f", "[]")},
			{JWKSFile: jwksFile(t, is), Algorithms: []string{"ES256"}},
			{Discovery: true},
		},
		Introspection: []IntrospectionConfig{{SecretFile: writeFile(t, "s", "x")}, {SecretFile: writeFile(t, "s", "")}, {}},
		APIKeys:       &APIKeysConfig{File: writeFile(t, "k", "- {id: a}")},
	}
	want := []string{
		"ca_file: " + c.CAFile + ": holds no PEM certificate",
		"jwt[1].jwks_file: /does/not/exist: no such file",
		"jwt[2].jwks_file: " + c.JWT[2].JWKSFile + ": is not a JWK set",
		"jwt[3].jwks_file: " + c.JWT[3].JWKSFile + ": has no key that could verify a token",
		"introspection[1].secret_file: " + c.Introspection[1].SecretFile + ": is empty",
		"api_keys.file: " + c.APIKeys.File + ": [0] \"a\": needs exactly one",
	}
	got := c.CheckFiles()
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i := range want {
		if !strings.HasPrefix(got[i].String(), want[i]) {
			t.Errorf("got %q, not %q", got[i], want[i])
		}
	}
}

func TestSecretNeverShows(t *testing.T) {
	const text = "hunter2"
	type holder struct {
		Name   string
		Secret Secret
	}
	h := holder{"x", NewSecret(text)}
	shown := map[string]string{"String": h.Secret.String(), "GoString": h.Secret.GoString()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %[1]v", "%10.3s", "%p"} {
		shown["field "+verb] = fmt.Sprintf(verb, h.Secret)
		shown["struct "+verb] = fmt.Sprintf(verb, h)
		shown["pointer "+verb] = fmt.Sprintf(verb, &h)
	}
	add := func(how string, text []byte, err error) {
		if err != nil {
			t.Errorf("%s: %v", how, err)
		}
		shown[how] = string(text)
	}
	asJSON, err := json.Marshal(h)
	add("JSON", asJSON, err)
	asYAML, err := yaml.Dump(h)
	add("YAML", asYAML, err)
	asText, err := h.Secret.MarshalText()
	add("text", asText, err)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "secret", h.Secret, "holder", h)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "secret", h.Secret, "holder", h)
	shown["slog"] = log.String()
	for how, got := range shown {
		if strings.Contains(got, text) || strings.Contains(got, fmt.Sprintf("%x", text)) || strings.Contains(got, fmt.Sprintf("%X", text)) {
			t.Errorf("%s shows the secret: %s", how, got)
		}
	}
	var fromConfig holder
	if err := yaml.Load([]byte("name: x\nsecret: "+text), &fromConfig); err != nil || !fromConfig.Secret.Equal(h.Secret) {
		t.Errorf("from a config: %v", err)
	}
	if h.Secret.Reveal() != text || (Secret{}).Reveal() != "" || !(Secret{}).IsZero() || h.Secret.IsZero() || h.Secret.Equal(Secret{}) {
		t.Error("the secret's own methods disagree")
	}
}
