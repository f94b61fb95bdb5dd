package identity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	cacheSize = 10_000 // verified tokens or certificates, about
	realm     = `realm="graphward"`
)

// Verifier is the [Authenticator] of a [Config]. [Verifier.Close] ends its
// background work. It is safe for concurrent use.
type Verifier struct {
	anonymous *Identity // nil: denied

	issuers       map[string]*issuer
	introspectors []*introspector
	keys          *apiKeys // nil: none
	clients       clientRule
	certified     map[string]string // clients of certificates, by subject

	digests      *digester
	verified     *cache // verdicts on JWTs
	opaque       *cache // verdicts on opaque tokens
	certificates *cache // identities of certificates, which each connection verifies
	cookies      []string
	challenge    string // to a request without credential
	rejected     string // to one whose credential is bad
	peers        bool   // peer certificates were verified by the listener

	fetch   *fetcher
	sources []interface {
		state() SourceStatus
		wait()
	}
	cancel context.CancelFunc
	closed sync.Once
}

var _ Authenticator = (*Verifier)(nil)

type options struct {
	transport http.RoundTripper
	report    func(SourceStatus)
	refresh   time.Duration
	peers     bool
}

// Option changes how [New] builds a [Verifier].
type Option func(*options)

// WithTransport sends requests to issuers and authorization servers through
// t instead of an own http.Transport. Size, time and redirect limits hold
// as they do without it.
func WithTransport(t http.RoundTripper) Option { return func(o *options) { o.transport = t } }

// WithReport has f told about every key source and key file that fails,
// recovers or changes. f is called by background goroutines and, before New
// returns, by New's; it must not block.
func WithReport(f func(SourceStatus)) Option { return func(o *options) { o.report = f } }

// WithRefresh takes the place of [Config.Refresh], without its bounds. Zero: no
// effect.
func WithRefresh(every time.Duration) Option { return func(o *options) { o.refresh = every } }

// WithVerifiedPeers says that the listener's tls.Config verifies client
// certificates by VerifyPeerCertificate or VerifyConnection, as go-spiffe's
// do, and refuses connections whose certificate does not hold. Such
// connections have no verified chains, so that without this option their
// requests are refused.
func WithVerifiedPeers() Option { return func(o *options) { o.peers = true } }

// New builds the authenticator of c: it reads the files that c names and
// fetches the keys of its issuers, within ctx, which has no meaning once New
// has returned. The error is a [*ConfigError] or a [*SourceError].
func New(ctx context.Context, c Config, opts ...Option) (*Verifier, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	o.refresh = cmp.Or(max(o.refresh, 0), c.Refresh, defaultRefresh)
	if p := c.Validate(); len(p) > 0 {
		return nil, &ConfigError{Problems: p}
	}
	roots, err := readRoots(c.CAFile)
	if err != nil {
		return nil, &SourceError{Source: c.CAFile, Err: err}
	}
	stop, cancel := context.WithCancel(context.Background())
	v := &Verifier{
		issuers:      make(map[string]*issuer),
		clients:      newClientRule(&c),
		certified:    maps.Clone(c.CertificateClients),
		digests:      newDigester(),
		verified:     newCache(cacheSize),
		opaque:       newCache(cacheSize),
		certificates: newCache(cacheSize),
		peers:        o.peers,
		fetch:        newFetcher(o.transport, roots),
		cancel:       cancel,
	}
	if c.Anonymous == Allow {
		v.anonymous = &Identity{Method: MethodAnonymous}
	}
	v.challenge, v.rejected = challenges(&c)
	if err := v.build(ctx, stop, &c, &o); err != nil {
		_ = v.Close()
		return nil, err
	}
	return v, nil
}

func (v *Verifier) build(ctx, stop context.Context, c *Config, o *options) error {
	for i := range c.JWT {
		is, err := newIssuer(ctx, stop, &c.JWT[i], v.fetch, o)
		if is != nil {
			v.sources = append(v.sources, is.source)
		}
		if err != nil {
			return err
		}
		v.issuers[c.JWT[i].Issuer] = is
		if name := c.JWT[i].Cookie; name != "" {
			v.cookies = append(v.cookies, name)
		}
	}
	for i := range c.Introspection {
		in, err := newIntrospector(stop, &c.Introspection[i], v.fetch)
		if err != nil {
			return err
		}
		v.introspectors = append(v.introspectors, in)
	}
	if c.APIKeys != nil {
		keys := newAPIKeys(c.APIKeys.File, o)
		v.keys = keys
		v.sources = append(v.sources, keys.source)
		if err := keys.source.start(ctx, stop, false); err != nil {
			return err
		}
	}
	return nil
}

// challenges returns the WWW-Authenticate values for a request without a
// credential and for one with a bad one (RFC 6750 section 3: the error code
// belongs to the second alone).
func challenges(c *Config) (missing, bad string) {
	var plain, rejected []string
	if len(c.JWT) > 0 || len(c.Introspection) > 0 || c.APIKeys == nil {
		plain = append(plain, "Bearer "+realm)
		rejected = append(rejected, "Bearer "+realm+`, error="invalid_token"`)
	}
	if c.APIKeys != nil {
		plain = append(plain, "ApiKey "+realm)
		rejected = append(rejected, "ApiKey "+realm)
	}
	return strings.Join(plain, ", "), strings.Join(rejected, ", ")
}

// Close ends the background work and returns when it has ended. Requests
// may still be authenticated, by what is known: nothing is fetched or asked
// any more.
func (v *Verifier) Close() error {
	v.closed.Do(func() {
		v.cancel()
		for _, s := range v.sources {
			s.wait()
		}
		v.fetch.close()
	})
	return nil
}

// Status returns the state of every key source and key file, in the order
// of the config.
func (v *Verifier) Status() []SourceStatus {
	list := make([]SourceStatus, len(v.sources))
	for i, s := range v.sources {
		list[i] = s.state()
	}
	return list
}

// Authenticate implements [Authenticator]. A bearer token or an API key
// identifies; without them a verified client certificate; else the request
// is anonymous. A request with two of bearer token, token cookie and API
// key is refused.
//
// The Authorization header is the upstream's business, and not read, where
// neither jwt nor introspection nor api_keys is configured; X-API-Key is
// where api_keys is not.
func (v *Verifier) Authenticate(r *http.Request) (*Identity, error) {
	id, err := v.identify(r)
	if err == nil {
		id, err = v.clients.apply(id, r.Header)
	}
	if err == nil {
		return id, nil
	}
	refusal := &UnauthenticatedError{Reason: err.Error(), Challenge: v.rejected}
	if _, ok := errors.AsType[*missingError](err); ok {
		refusal.Challenge = v.challenge
	} else if known, ok := errors.AsType[*unavailableError](err); ok {
		refusal.Unavailable = true
		refusal.Reason = known.reason
	} else if known, ok := errors.AsType[*UnauthenticatedError](err); ok {
		refusal.Reason, refusal.Unavailable = known.Reason, known.Unavailable
	}
	return nil, refusal
}

// Recall implements [Recaller], for signed tokens that come without a client
// certificate.
func (v *Verifier) Recall(r *http.Request) *Identity {
	if cert, err := v.certificate(r); cert != nil || err != nil {
		return nil
	}
	found, err := v.present(r)
	if err != nil || found.kind != credentialBearer || !v.readsSigned(found.text) {
		return nil
	}
	known := v.verified.get(v.digests.sum(found.text), time.Now())
	if known == nil || known.holds(found, nil) != nil {
		return nil
	}
	id, err := v.clients.apply(known.identity, r.Header)
	if err != nil {
		return nil
	}
	return id
}

// missingError means that there was no credential at all.
type missingError struct{}

func (*missingError) Error() string { return "no credential" }

// unavailableError means that a credential could not be judged now.
type unavailableError struct{ reason string }

func (e *unavailableError) Error() string { return e.reason }

func (v *Verifier) identify(r *http.Request) (*Identity, error) {
	cert, err := v.certificate(r)
	if err != nil {
		return nil, err
	}
	found, err := v.present(r)
	if err != nil {
		return nil, err
	}
	var id *Identity
	switch found.kind {
	case credentialNone:
		switch {
		case cert != nil:
			return cert, nil
		case v.anonymous != nil:
			return v.anonymous, nil
		}
		return nil, &missingError{}
	case credentialAPIKey:
		id, err = v.keys.authenticate(r.Context(), found.text, time.Now())
	default:
		id, err = v.bearer(r, found, cert)
	}
	if err != nil || cert == nil {
		return id, err
	}
	both := *id
	both.Certificate = cert.Certificate
	return &both, nil
}

type credentialKind uint8

const (
	credentialNone credentialKind = iota
	credentialBearer
	credentialAPIKey
)

// credential is what a request presents, not yet verified.
type credential struct {
	kind   credentialKind
	text   string
	cookie string // the cookie's name when it came in one
}

// present finds the one credential of r.
func (v *Verifier) present(r *http.Request) (credential, error) {
	var found credential
	if len(v.issuers) == 0 && len(v.introspectors) == 0 && v.keys == nil {
		return found, nil
	}
	if values := r.Header["Authorization"]; len(values) > 1 {
		return found, errors.New("more than one Authorization header")
	} else if len(values) == 1 {
		scheme, text, _ := strings.Cut(values[0], " ")
		found.text = strings.TrimLeft(text, " ")
		switch {
		case strings.EqualFold(scheme, "Bearer") && (len(v.issuers) > 0 || len(v.introspectors) > 0):
			found.kind = credentialBearer
		case strings.EqualFold(scheme, "ApiKey") && v.keys != nil:
			found.kind = credentialAPIKey
		default:
			return found, errors.New("the Authorization header's scheme is not accepted")
		}
	}
	if v.keys != nil {
		if values := r.Header["X-Api-Key"]; len(values) > 1 || len(values) == 1 && found.kind != credentialNone {
			return found, errors.New("more than one credential")
		} else if len(values) == 1 {
			found = credential{kind: credentialAPIKey, text: values[0]}
		}
	}
	for _, name := range v.cookies {
		values := r.CookiesNamed(name)
		if len(values) == 0 {
			continue
		}
		if len(values) > 1 || found.kind != credentialNone {
			return found, errors.New("more than one credential")
		}
		found = credential{kind: credentialBearer, text: values[0].Value, cookie: name}
	}
	if found.kind != credentialNone && (found.text == "" || len(found.text) > maxToken) {
		return found, fmt.Errorf("the credential is empty or longer than %d bytes", maxToken)
	}
	return found, nil
}

func (v *Verifier) bearer(r *http.Request, found credential, cert *Identity) (*Identity, error) {
	if v.readsSigned(found.text) {
		return v.signed(r.Context(), found, cert)
	}
	return v.introspect(r.Context(), found.text)
}

// readsSigned reports whether a bearer token is taken for a signed one.
func (v *Verifier) readsSigned(token string) bool {
	return len(v.issuers) > 0 && (looksSigned(token) || len(v.introspectors) == 0)
}
