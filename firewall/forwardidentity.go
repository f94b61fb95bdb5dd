package firewall

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/graphward/graphward/firewall/gqlhttp"
	"github.com/graphward/graphward/firewall/identity"
)

// ForwardIdentityConfig tells the upstream who was identified. Without it the
// upstream sees the client's own credential and nothing else.
type ForwardIdentityConfig struct {
	// Headers that say who was identified: true for x-graphward-subject, x-graphward-roles, x-graphward-client and
	// x-graphward-decision-id, or the names of those that are wanted. Bytes that are not visible ASCII, commas and % are
	// percent-encoded; roles are separated by commas. A header whose value does not exist is not sent; what a client sends
	// under one of the names never is.
	Headers IdentityHeadersConfig `yaml:"headers"`
	// A signed token besides, for an upstream that others can reach too.
	JWT *IdentityTokenConfig `yaml:"jwt,omitempty"`
}

// IdentityHeadersConfig names the headers; empty: not sent.
type IdentityHeadersConfig struct {
	// Header for the subject.
	Subject string `yaml:"subject,omitempty"`
	// Header for the roles.
	Roles string `yaml:"roles,omitempty"`
	// Header for the client.
	Client string `yaml:"client,omitempty"`
	// Header for the decision id, which the audit record has too. It is sent for anonymous callers as well.
	Decision string `yaml:"decision,omitempty"`
}

// UnmarshalYAML reads the mapping, or `headers: true`.
func (c *IdentityHeadersConfig) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		var all bool
		if err := n.Load(&all); err != nil {
			return err
		}
		if all {
			*c = IdentityHeadersConfig{"x-graphward-subject", "x-graphward-roles", "x-graphward-client", "x-graphward-decision-id"}
		}
		return nil
	}
	type plain IdentityHeadersConfig
	return n.Load((*plain)(c))
}

// IdentityTokenConfig is a short-lived JSON Web Token for the upstream, signed with a key of the firewall's own. Anonymous callers
// have none.
type IdentityTokenConfig struct {
	// Header that carries it; authorization replaces the client's and adds Bearer. Default x-graphward-identity.
	Header string `yaml:"header,omitempty"`
	// PEM private key: EC (ES256, ES384, ES512), Ed25519 (EdDSA) or RSA (RS256). The token's kid is its RFC 7638 thumbprint.
	KeyFile string `yaml:"key_file"`
	// The token's iss.
	Issuer string `yaml:"issuer"`
	// The token's aud.
	Audience string `yaml:"audience"`
	// How long a token is good, from 10s to 1h; default 1m. An identity's token is used again for half of it.
	TTL Duration `yaml:"ttl,omitempty"`
}

const (
	defaultTokenHeader = "x-graphward-identity"
	defaultTokenTTL    = time.Minute
)

func (c *IdentityTokenConfig) header() string {
	if c.Header == "" {
		return defaultTokenHeader
	}
	return c.Header
}

func (c *IdentityTokenConfig) ttl() time.Duration {
	if c.TTL == 0 {
		return defaultTokenTTL
	}
	return c.TTL.Std()
}

// headers lists the headers by the key that names them.
func (c *ForwardIdentityConfig) headers() map[string]string {
	out := map[string]string{}
	for key, name := range map[string]string{"headers.subject": c.Headers.Subject, "headers.roles": c.Headers.Roles,
		"headers.client": c.Headers.Client, "headers.decision": c.Headers.Decision} {
		if name != "" {
			out[key] = name
		}
	}
	if c.JWT != nil {
		out["jwt.header"] = c.JWT.header()
	}
	return out
}

// ownHeaders are those that the firewall writes itself; another meaning for one
// of them would be lost.
var ownHeaders = []string{"accept", "accept-encoding", "content-type", "cookie", "user-agent", "traceparent", "tracestate"}

func (c *UpstreamConfig) validateIdentity(v *validation) {
	named := map[string]string{}
	headers := c.Identity.headers()
	for _, key := range slices.Sorted(maps.Keys(headers)) {
		path, name := "upstream.identity."+key, headers[key]
		v.headerName(path, name)
		folded := foldHeader(name)
		switch {
		case slices.Contains(ownHeaders, folded) || strings.HasPrefix(folded, "x-forwarded-"):
			v.add(path, "%s has a meaning of its own", name)
		case folded == "authorization" && key != "jwt.header":
			v.add(path, "%s is for credentials; only a token may take its place", name)
		case named[folded] != "":
			v.add(path, "%s is the header of %s already", name, named[folded])
		}
		named[folded] = "upstream.identity." + key
	}
	for _, name := range slices.Sorted(maps.Keys(c.Headers.Set)) {
		if path := named[foldHeader(name)]; path != "" {
			v.add("upstream.headers.set."+name, "is the header of %s already", path)
		}
	}
	t := c.Identity.JWT
	if t == nil {
		return
	}
	for _, required := range []struct{ key, value string }{{"key_file", t.KeyFile}, {"issuer", t.Issuer}, {"audience", t.Audience}} {
		if required.value == "" {
			v.add("upstream.identity.jwt."+required.key, "is needed")
		}
	}
	if t.ttl() < 10*time.Second || t.ttl() > time.Hour {
		v.add("upstream.identity.jwt.ttl", "%s is not between 10s and 1h", t.ttl())
	}
}

// foldHeader makes names equal that a CGI or WSGI server cannot tell apart.
func foldHeader(name string) string { return strings.ReplaceAll(lowerASCII(name), "_", "-") }

// identityHeaders writes who was identified to forwarded requests. It is nil
// where nothing is told.
type identityHeaders struct {
	subject, roles, client, decision, token string // canonical names; empty: not sent
	bearer                                  bool
	signer                                  *identity.Signer
}

func newIdentityHeaders(c *ForwardIdentityConfig) (*identityHeaders, error) {
	if c.Headers == (IdentityHeadersConfig{}) && c.JWT == nil {
		return nil, nil
	}
	name := http.CanonicalHeaderKey
	out := &identityHeaders{subject: name(c.Headers.Subject), roles: name(c.Headers.Roles), client: name(c.Headers.Client), decision: name(c.Headers.Decision)}
	if c.JWT == nil {
		return out, nil
	}
	out.token = name(c.JWT.header())
	out.bearer = out.token == "Authorization"
	key, err := os.ReadFile(c.JWT.KeyFile)
	if err == nil {
		out.signer, err = identity.NewSigner(identity.SignerOptions{Key: key, Issuer: c.JWT.Issuer, Audience: c.JWT.Audience, TTL: c.JWT.ttl()})
		if err != nil {
			err = fmt.Errorf("%s %w", c.JWT.KeyFile, err)
		}
	}
	if err != nil {
		return nil, &ConfigError{[]Problem{{"upstream.identity.jwt.key_file", err.Error()}}}
	}
	return out, nil
}

// drops are the names that a client cannot use.
func (i *identityHeaders) drops() (names []string) {
	if i == nil {
		return nil
	}
	for _, name := range []string{i.subject, i.roles, i.client, i.decision, i.token} {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// reveals reports whether the upstream is told who asks, so that its answer may
// depend on it though no header that the client sent says so: no shared cache
// may keep it.
func (i *identityHeaders) reveals(id *identity.Identity) bool {
	return i != nil && id.Authenticated && (i.subject != "" || i.roles != "" || i.client != "" || i.token != "")
}

// write sets the headers for one forwarded call.
func (i *identityHeaders) write(h gqlhttp.Fields, id *identity.Identity, decision string) error {
	if i == nil {
		return nil
	}
	set := func(name, value string) {
		if name != "" && value != "" {
			h.Set(name, []string{value})
		}
	}
	set(i.decision, decision)
	set(i.subject, headerText(id.Subject))
	set(i.client, headerText(id.Client.ID))
	if i.roles != "" && len(id.Roles) > 0 {
		roles := make([]string, len(id.Roles))
		for at, role := range id.Roles {
			roles[at] = headerText(role)
		}
		h.Set(i.roles, []string{strings.Join(roles, ",")})
	}
	if i.signer == nil || !id.Authenticated {
		return nil
	}
	token, err := i.signer.Token(id, time.Now())
	if err != nil {
		return err
	}
	if i.bearer {
		token = "Bearer " + token
	}
	set(i.token, token)
	return nil
}

const upperHex = "0123456789ABCDEF"

// headerText percent-encodes what cannot stand in a header, commas and %, so
// that no value can be taken for two or for another.
func headerText(s string) string {
	clean := true
	for i := range len(s) {
		clean = clean && plainByte(s[i])
	}
	if clean {
		return s
	}
	out := make([]byte, 0, len(s)+16)
	for i := range len(s) {
		if b := s[i]; plainByte(b) {
			out = append(out, b)
		} else {
			out = append(out, '%', upperHex[b>>4], upperHex[b&15])
		}
	}
	return string(out)
}

func plainByte(b byte) bool { return b > ' ' && b < 0x7f && b != ',' && b != '%' }

// claimedByProxies are headers in which proxies tell a backend whom they
// identified, by which address and with which certificate. Only the firewall
// does so here: what a client sends is dropped. x-forwarded-* are all dropped
// by gqlhttp.
var claimedByProxies = []string{
	"forwarded", "x-forwarded", "forwarded-for", "x-real-ip", "x-client-ip", "true-client-ip", "x-cluster-client-ip",
	"client-cert", "client-cert-chain", // RFC 9440
	"x-client-cert", "x-ssl-cert", "ssl-client-cert", "x-ssl-client-cert", "x-ssl-client-dn", "x-ssl-client-s-dn", "x-ssl-client-verify",
	"ssl-client-verify", "ssl-client-s-dn", "x-amzn-mtls-clientcert", "x-amzn-mtls-clientcert-leaf", "x-amzn-mtls-clientcert-subject",
	"remote-user", "x-remote-user", "x-remote-groups", "x-webauth-user", "x-authenticated-user", "x-authenticated-userid",
	"x-auth-request-user", "x-auth-request-email", "x-auth-request-groups", "x-auth-request-preferred-username", "x-auth-request-access-token",
	"x-amzn-oidc-identity", "x-amzn-oidc-data", "x-amzn-oidc-accesstoken", "x-goog-authenticated-user-id", "x-goog-authenticated-user-email",
	"x-goog-iap-jwt-assertion", "cf-access-jwt-assertion", "cf-access-authenticated-user-email",
}

// provenance is where a request came from: the client's address and the host
// that it asked.
type provenance struct{ client, host [1]string }

// write tells the upstream: what is believed, not what is claimed. A trusted
// proxy at the other end of the connection is believed about the scheme and the
// host that its client used.
func (p *provenance) write(h gqlhttp.Fields, x *exchange, trusted []netip.Prefix) {
	r := x.r
	if x.ip.IsValid() {
		p.client[0] = x.who.request.IP
		h.Set("X-Forwarded-For", p.client[:])
	}
	host, proto := r.Host, protoHTTP
	if r.TLS != nil {
		proto = protoHTTPS
	}
	if len(trusted) > 0 && trustedPeer(r, trusted) {
		if claimed := r.Header["X-Forwarded-Proto"]; len(claimed) == 1 {
			switch claimed[0] {
			case "http":
				proto = protoHTTP
			case "https":
				proto = protoHTTPS
			}
		}
		if claimed := r.Header["X-Forwarded-Host"]; len(claimed) == 1 && gqlhttp.ValidHost(claimed[0]) {
			host = claimed[0]
		}
	}
	// net/http also lets nothing at all, and some that is no host, be one.
	if gqlhttp.ValidHost(host) {
		p.host[0] = host
		h.Set("X-Forwarded-Host", p.host[:])
	}
	h.Set("X-Forwarded-Proto", proto)
}

func trustedPeer(r *http.Request, trusted []netip.Prefix) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	addr := peer.Addr().Unmap().WithZone("")
	return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(addr) })
}
