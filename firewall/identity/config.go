package identity

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The values of [Config.Anonymous] and [JWTConfig.OnUnreachable].
const (
	Allow    = "allow"
	Deny     = "deny"
	Refuse   = "refuse"
	Continue = "continue"
)

const (
	defaultLeeway = 30 * time.Second
	maxLeeway     = 5 * time.Minute
	minRefresh    = time.Second
	maxRefresh    = time.Hour
)

// Config says which credentials identify a caller.
type Config struct {
	// Anonymous says whether a request without any credential passes as the
	// anonymous subject: `allow` or `deny`. Default: `deny` where jwt,
	// introspection or api_keys are configured; without them it must be set.
	// A credential that does not verify is refused under both.
	Anonymous string `yaml:"anonymous,omitempty"`

	// JWT lists the issuers whose tokens are accepted, in the form
	// `Authorization: Bearer <token>` or, where `cookie` is set, in a cookie.
	// A token is judged by the issuer that it names, with its keys alone.
	JWT []JWTConfig `yaml:"jwt,omitempty"`

	// Introspection lists authorization servers that are asked about opaque
	// bearer tokens (RFC 7662), in order, until one says that the token is
	// active. Where jwt is configured too, a bearer token with exactly two
	// dots is a JWT and never sent there.
	Introspection []IntrospectionConfig `yaml:"introspection,omitempty"`

	// APIKeys names the file of API keys, which are sent as
	// `X-API-Key: <key>` or `Authorization: ApiKey <key>`. Absent: none.
	APIKeys *APIKeysConfig `yaml:"api_keys,omitempty"`

	// Refresh is how often keys are fetched from issuers again, which bounds how
	// long a key that an issuer removed stays in use. Default: 5m; at least 1s,
	// at most 1h. A token by a key that is not known yet asks at once.
	Refresh time.Duration `yaml:"refresh,omitempty"`

	// CAFile holds PEM certificates that those of issuers and authorization
	// servers must chain to. Default: the system's.
	CAFile string `yaml:"ca_file,omitempty"`

	// ClientHeaders are the request headers in which clients name themselves.
	// Default: graphql-client-name, apollographql-client-name,
	// x-graphql-client-name. The header's `-version` sibling is read as the
	// client's version. An empty list reads none.
	ClientHeaders []string `yaml:"client_headers"`

	// PublicClients are the client names that a header alone may claim.
	// Another name in a header counts for nothing; one that contradicts the
	// credential's client is refused.
	PublicClients []string `yaml:"public_clients,omitempty"`

	// CertificateClients names the client of a certificate, by the certificate's
	// subject (its SPIFFE ID or first DNS name): as firm as a token's claim, so
	// that a header with another name is refused. Certificates that are not
	// listed have no client.
	CertificateClients map[string]string `yaml:"certificate_clients,omitempty"`

	// TrustedProxies are the addresses or CIDR ranges of proxies in front,
	// whose X-Forwarded-For entries are believed, from the right, as far as
	// they are themselves in the list. Default: none.
	TrustedProxies []string `yaml:"trusted_proxies,omitempty"`
}

// JWTConfig describes one issuer of JSON Web Tokens. Exactly one of
// jwks_url, jwks_file and discovery says where its keys are.
type JWTConfig struct {
	// Issuer is the exact value of the "iss" claim. Required.
	Issuer string `yaml:"issuer"`

	// JWKSURL is where the issuer publishes its keys (RFC 7517): https, or
	// http to a loopback address. It is fetched at start and every refresh,
	// and when a token names an unknown key, at most every 10 seconds. A
	// redirect, more than 1 MiB or 5 seconds is a failure; the last good keys
	// then stay in use.
	JWKSURL string `yaml:"jwks_url,omitempty"`

	// JWKSFile is a file of keys (RFC 7517). It is read again when it changes.
	JWKSFile string `yaml:"jwks_file,omitempty"`

	// Discovery finds the keys by OpenID Connect Discovery, at
	// `<issuer>/.well-known/openid-configuration`; its "issuer" must equal
	// the configured one.
	Discovery bool `yaml:"discovery,omitempty"`

	// Audiences are the values of "aud" that mean this firewall: a token must
	// carry at least one. Required, since a token for another service would
	// else be good here.
	Audiences []string `yaml:"audiences"`

	// Algorithms are the signature algorithms accepted of this issuer, of
	// RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA Ed25519.
	// Default: RS256, ES256, EdDSA. A key is used only with the algorithm
	// that it names or that its type implies. `none` and the symmetric HS
	// algorithms do not exist here.
	Algorithms []string `yaml:"algorithms,omitempty"`

	// Leeway is how far this host's clock may be from the issuer's when exp,
	// nbf and iat are compared. Default (also for 0): 30s. At most 5m.
	Leeway time.Duration `yaml:"leeway,omitempty"`

	// Claims says which claims hold roles, scopes and client.
	Claims ClaimsConfig `yaml:"claims,omitempty"`

	// Cookie names a cookie that may carry a token of this issuer. Absent:
	// tokens come in the Authorization header alone. A request with both is
	// refused.
	Cookie string `yaml:"cookie,omitempty"`

	// OnUnreachable says what happens when the issuer's keys cannot be
	// fetched at start: `refuse` (default) to start, or `continue` and refuse
	// the issuer's tokens until they can.
	OnUnreachable string `yaml:"on_unreachable,omitempty"`
}

// ClaimsConfig maps claims to the identity. Each is the name of a claim, or
// a path of names with dots (`realm_access.roles`); a claim whose own name
// is the whole text comes first. An absent claim means none; one of
// another type refuses the token.
type ClaimsConfig struct {
	// Roles holds an array of strings or a string of names with spaces
	// between. Default: roles.
	Roles string `yaml:"roles,omitempty"`

	// Scopes is like Roles. Default: scope.
	Scopes string `yaml:"scopes,omitempty"`

	// Client holds a string. Default: client_id.
	Client string `yaml:"client,omitempty"`
}

// IntrospectionConfig describes one authorization server that judges opaque
// tokens (RFC 7662).
type IntrospectionConfig struct {
	// URL is the introspection endpoint: https, or http to a loopback
	// address. Answers are kept for at most one minute, and never beyond the
	// token's "exp".
	URL string `yaml:"url"`

	// ClientID is this firewall's name at the server, sent with the secret by
	// HTTP Basic authentication (RFC 6749 section 2.3.1).
	ClientID string `yaml:"client_id"`

	// SecretFile is a file that holds the secret; surrounding white space is
	// dropped.
	SecretFile string `yaml:"secret_file"`

	// Issuer, where set, must equal the answer's "iss" if it has one, and is
	// the identity's issuer if it has none.
	Issuer string `yaml:"issuer,omitempty"`

	// Audiences, where set, are the values of "aud" of which the answer must
	// carry one. Default: the server decides who may use a token.
	Audiences []string `yaml:"audiences,omitempty"`

	// Claims says which members of the answer hold roles, scopes and client.
	Claims ClaimsConfig `yaml:"claims,omitempty"`
}

// APIKeysConfig says where the API keys are.
type APIKeysConfig struct {
	// File is a YAML or JSON list of keys; see the entry type for its
	// members. It is read again when it changes; a file with a mistake leaves
	// the last good keys in use.
	File string `yaml:"file"`
}

// Problem is one mistake in a [Config].
type Problem struct {
	// Path is the key below `identity`, such as "jwt[0].algorithms[1]".
	Path string
	// Message says what is wrong and what would be right.
	Message string
}

func (p Problem) String() string { return p.Path + ": " + p.Message }

// ConfigError holds every problem of a config that [New] was given.
type ConfigError struct{ Problems []Problem }

func (e *ConfigError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return "identity: " + strings.Join(lines, "; ")
}

// Algorithms are the signature algorithms that a config may name, in the
// spelling of RFC 7518 and RFC 9864.
func Algorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
}

func defaultAlgorithms() []string { return []string{"RS256", "ES256", "EdDSA"} }

// DefaultClientHeaders are the client headers that are read when a config
// names none.
func DefaultClientHeaders() []string {
	return []string{"graphql-client-name", "apollographql-client-name", "x-graphql-client-name"}
}

// Credentials reports whether c accepts any credential in the request
// itself, as opposed to a client certificate.
func (c *Config) Credentials() bool {
	return len(c.JWT) > 0 || len(c.Introspection) > 0 || c.APIKeys != nil
}

type problems []Problem

func (p *problems) add(path, format string, args ...any) {
	*p = append(*p, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

// Validate returns every problem that c has by itself, without reading a
// file or asking a server. The order is that of the fields.
func (c *Config) Validate() []Problem {
	var p problems
	switch c.Anonymous {
	case Allow, Deny:
	case "":
		if !c.Credentials() {
			p.add("anonymous", "must be allow or deny: no jwt, introspection or api_keys says who else there is")
		}
	default:
		p.add("anonymous", "%q is neither allow nor deny", c.Anonymous)
	}
	seen := map[string]int{}
	for i := range c.JWT {
		path := fmt.Sprintf("jwt[%d]", i)
		c.JWT[i].validate(path, &p)
		if first, twice := seen[c.JWT[i].Issuer]; twice && c.JWT[i].Issuer != "" {
			p.add(path+".issuer", "is already configured at jwt[%d]", first)
		} else {
			seen[c.JWT[i].Issuer] = i
		}
	}
	for i := range c.Introspection {
		c.Introspection[i].validate(fmt.Sprintf("introspection[%d]", i), &p)
	}
	if c.APIKeys != nil && c.APIKeys.File == "" {
		p.add("api_keys.file", "is required")
	}
	if c.Refresh != 0 && (c.Refresh < minRefresh || c.Refresh > maxRefresh) {
		p.add("refresh", "%s is not between %s and %s", c.Refresh, minRefresh, maxRefresh)
	}
	for i, name := range c.ClientHeaders {
		if !isToken(name) {
			p.add(fmt.Sprintf("client_headers[%d]", i), "%q is not a header name", name)
		}
	}
	for i, name := range c.PublicClients {
		if !validClientName(name) {
			p.add(fmt.Sprintf("public_clients[%d]", i), "%q is not a client name: 1 to %d printable ASCII characters", name, maxClientName)
		}
	}
	for _, subject := range slices.Sorted(maps.Keys(c.CertificateClients)) {
		if name := c.CertificateClients[subject]; subject == "" || !validClientName(name) {
			p.add("certificate_clients."+subject, "%q is not a client name: 1 to %d printable ASCII characters", name, maxClientName)
		}
	}
	for i, text := range c.TrustedProxies {
		if _, err := parsePrefix(text); err != nil {
			p.add(fmt.Sprintf("trusted_proxies[%d]", i), "%s", err)
		}
	}
	return p
}

func (c *JWTConfig) validate(path string, p *problems) {
	if c.Issuer == "" {
		p.add(path+".issuer", "is required")
	}
	sources := 0
	if c.JWKSURL != "" {
		sources++
		checkURL(path+".jwks_url", c.JWKSURL, p)
	}
	if c.JWKSFile != "" {
		sources++
	}
	if c.Discovery {
		sources++
		if c.Issuer != "" {
			checkURL(path+".issuer", c.Issuer, p)
		}
	}
	if sources != 1 {
		p.add(path, "needs exactly one of jwks_url, jwks_file and discovery: true")
	}
	checkList(path+".audiences", c.Audiences, p)
	if len(c.Audiences) == 0 {
		p.add(path+".audiences", "is required: without it a token for another service would be accepted")
	}
	for i, alg := range c.Algorithms {
		at := fmt.Sprintf("%s.algorithms[%d]", path, i)
		switch {
		case slices.Contains(Algorithms(), alg):
		case strings.HasPrefix(alg, "HS"), strings.EqualFold(alg, "none"):
			p.add(at, "%q is refused: only asymmetric signatures prove an issuer (%s)", alg, strings.Join(Algorithms(), " "))
		default:
			p.add(at, "%q is not one of %s", alg, strings.Join(Algorithms(), " "))
		}
	}
	if c.Leeway < 0 || c.Leeway > maxLeeway {
		p.add(path+".leeway", "%s is not between 0s and %s", c.Leeway, maxLeeway)
	}
	c.Claims.validate(path+".claims", p)
	if c.Cookie != "" && !isToken(c.Cookie) {
		p.add(path+".cookie", "%q is not a cookie name", c.Cookie)
	}
	switch c.OnUnreachable {
	case "", Refuse, Continue:
	default:
		p.add(path+".on_unreachable", "%q is neither refuse nor continue", c.OnUnreachable)
	}
}

func (c *IntrospectionConfig) validate(path string, p *problems) {
	if c.URL == "" {
		p.add(path+".url", "is required")
	} else {
		checkURL(path+".url", c.URL, p)
	}
	if c.ClientID == "" {
		p.add(path+".client_id", "is required")
	}
	if c.SecretFile == "" {
		p.add(path+".secret_file", "is required")
	}
	checkList(path+".audiences", c.Audiences, p)
	c.Claims.validate(path+".claims", p)
}

func (c *ClaimsConfig) validate(path string, p *problems) {
	for _, m := range []struct{ key, value string }{{"roles", c.Roles}, {"scopes", c.Scopes}, {"client", c.Client}} {
		if m.value != "" && slices.Contains(strings.Split(m.value, "."), "") && !strings.Contains(m.value, "://") {
			p.add(path+"."+m.key, "%q has an empty name between its dots", m.value)
		}
	}
}

// checkList refuses empty texts, which would equal an empty claim.
func checkList(path string, list []string, p *problems) {
	for i, text := range list {
		if text == "" {
			p.add(fmt.Sprintf("%s[%d]", path, i), "is empty")
		}
	}
}

func checkURL(path, text string, p *problems) {
	if err := validURL(text); err != nil {
		p.add(path, "%s", err)
	}
}

// validURL accepts an absolute https URL, or an http one to a loopback
// address: keys fetched over an open network are the network's keys.
func validURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("is not a URL") // which may hold a password: it is not shown
	case u.Host == "" || u.User != nil || u.Fragment != "":
		return errors.New("is not an absolute URL without user and fragment")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http":
		addr, err := netip.ParseAddr(u.Hostname())
		if u.Hostname() == "localhost" || (err == nil && addr.IsLoopback()) {
			return nil
		}
	}
	return fmt.Errorf("%q must be https (http only to a loopback address): who changes the answer on the way names the keys", text)
}

// parsePrefix reads an address or a CIDR range.
func parsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a CIDR range", text)
	}
	if prefix.Bits() == 0 {
		return netip.Prefix{}, fmt.Errorf("%q trusts every address: any client could name its own", text)
	}
	if prefix.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q: write the range in IPv4 form", text)
	}
	return prefix.Masked(), nil
}

// Proxies returns TrustedProxies parsed, for [ClientIP]. Entries that
// Validate refuses are left out.
func (c *Config) Proxies() []netip.Prefix {
	var list []netip.Prefix
	for _, text := range c.TrustedProxies {
		if prefix, err := parsePrefix(text); err == nil {
			list = append(list, prefix)
		}
	}
	return list
}

// isToken reports whether s is an RFC 9110 token, as header and cookie
// names are.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"(),/:;<=>?@[\\]{}", c) >= 0 {
			return false
		}
	}
	return s != ""
}

func canonical(name string) string { return textproto.CanonicalMIMEHeaderKey(name) }
