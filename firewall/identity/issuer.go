package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// issuer judges the tokens of one configured issuer.
type issuer struct {
	name      string
	audiences map[string]bool
	leeway    time.Duration
	claims    claimMap
	cookie    string
	source    *source[keySet]
}

// newIssuer returns the issuer even when it fails to start.
func newIssuer(ctx, stop context.Context, c *JWTConfig, fetch *fetcher, o *options) (*issuer, error) {
	is := &issuer{
		name:      c.Issuer,
		audiences: make(map[string]bool, len(c.Audiences)),
		leeway:    c.Leeway,
		claims:    newClaimMap(c.Claims),
		cookie:    c.Cookie,
	}
	if is.leeway == 0 {
		is.leeway = defaultLeeway
	}
	for _, audience := range c.Audiences {
		is.audiences[audience] = true
	}
	allowed := c.algorithms()
	is.source = &source[keySet]{
		every: o.refresh,
		parse: func(document []byte, prior *keySet) (*keySet, error) {
			if prior == nil {
				return parseFirstKeys(document, allowed)
			}
			next, err := parseKeys(document, allowed, prior)
			if err == nil {
				next.gone = goneKeys(prior, next)
			}
			return next, err
		},
		retire: retireKeys,
		count:  func(keys *keySet) (int, []string) { return len(keys.keys), keys.skipped },
		report: o.report,
	}
	switch {
	case c.JWKSFile != "":
		is.source.name, is.source.every = c.JWKSFile, filePoll
		is.source.load = (&watchedFile{path: c.JWKSFile}).load
	case c.Discovery:
		is.source.name = c.Issuer
		is.source.load = func(ctx context.Context) ([]byte, error) {
			address, err := fetch.discover(ctx, c.Issuer)
			if err != nil {
				return nil, err
			}
			return fetch.get(ctx, address)
		}
	default:
		is.source.name = c.JWKSURL
		is.source.load = func(ctx context.Context) ([]byte, error) { return fetch.get(ctx, c.JWKSURL) }
	}
	return is, is.source.start(ctx, stop, c.OnUnreachable == Continue)
}

// algorithms returns the configured algorithms or the default ones.
func (c *JWTConfig) algorithms() []string {
	if len(c.Algorithms) == 0 {
		return defaultAlgorithms()
	}
	return c.Algorithms
}

// parseFirstKeys is parseKeys at the start, where a set without a usable key
// is a mistake; later it is how an issuer takes its last key back.
func parseFirstKeys(document []byte, allowed []string) (*keySet, error) {
	keys, err := parseKeys(document, allowed, nil)
	if err == nil && len(keys.keys) == 0 {
		return nil, fmt.Errorf("has no key that could verify a token: %q", keys.skipped)
	}
	return keys, err
}

// maxGone bounds the ids of removed keys that are remembered.
const maxGone = 64

// goneKeys returns the ids that prior knew, as keys or as gone, and that are not
// keys of next.
func goneKeys(prior, next *keySet) []string {
	var out []string
	add := func(id string) {
		if !next.has(id) && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	for _, id := range prior.gone {
		add(id)
	}
	for _, key := range prior.keys {
		add(key.id)
	}
	return out[max(0, len(out)-maxGone):]
}

// retireKeys revokes the keys of prior that next does not have.
func retireKeys(prior, next *keySet) {
	kept := make(map[*verificationKey]bool, len(next.keys))
	for _, key := range next.keys {
		kept[key] = true
	}
	for _, key := range prior.keys {
		if !kept[key] {
			key.revoked.Store(true)
		}
	}
}

// signed verifies a JWT, or finds the verdict of an earlier request on it.
func (v *Verifier) signed(ctx context.Context, found credential, cert *Identity) (*Identity, error) {
	now := time.Now()
	of := v.digests.sum(found.text)
	known := v.verified.get(of, now)
	if known == nil {
		var err error
		if known, err = v.verifySigned(ctx, found.text, now); err != nil {
			return nil, err
		}
		v.verified.put(of, known)
	}
	if err := known.holds(found, cert); err != nil {
		return nil, err
	}
	return known.identity, nil
}

// holds refuses a verified token that comes in another way than its own. cert is
// nil where the request has no verified certificate.
func (known *verdict) holds(found credential, cert *Identity) error {
	if found.cookie != "" && known.issuer.cookie != found.cookie {
		return errors.New("the token's issuer is not the one of the cookie")
	}
	if known.bound != "" && (cert == nil || cert.Certificate != known.bound) {
		return errors.New("the token belongs to another client certificate")
	}
	return nil
}

// verifySigned does what RFC 7519 section 7.2 and RFC 8725 ask. Before the
// signature holds, of the token only "iss", "alg" and "kid" are used: to
// choose among configured issuers and their keys.
func (v *Verifier) verifySigned(ctx context.Context, text string, now time.Time) (*verdict, error) {
	token, err := parseSigned(text)
	if err != nil {
		return nil, err
	}
	name, ok := token.claims["iss"].(string)
	if !ok {
		return nil, errors.New("claim iss is missing or not a text")
	}
	is := v.issuers[name]
	if is == nil {
		return nil, fmt.Errorf("issuer %.200q is not configured", name)
	}
	key, err := is.verify(ctx, token)
	if err != nil {
		return nil, err
	}
	expiry, err := checkTimes(token.claims, now, is.leeway, true)
	if err != nil {
		return nil, err
	}
	if err := checkAudience(token.claims, is.audiences); err != nil {
		return nil, err
	}
	sub, err := subject(token.claims)
	if err != nil {
		return nil, err
	}
	bound, err := confirmation(token.claims)
	if err != nil {
		return nil, err
	}
	id := &Identity{
		Authenticated: true,
		Subject:       sub,
		Issuer:        is.name,
		Claims:        token.claims,
		Method:        MethodJWT,
		Expiry:        expiry,
	}
	if err := is.claims.apply(id); err != nil {
		return nil, err
	}
	return &verdict{identity: id, until: expiry.Add(is.leeway), key: key, issuer: is, bound: bound}, nil
}

// verify returns the issuer's key that made the token's signature.
func (is *issuer) verify(ctx context.Context, token *signedToken) (*verificationKey, error) {
	// A token with a key id that is not there may be by a key newer than the
	// set. Without keys, which the config may allow, every token may be.
	known := func() bool {
		keys := is.source.current.Load()
		return keys != nil && (keys.has(token.keyID) || slices.Contains(keys.gone, token.keyID))
	}
	if !known() {
		is.source.demand(ctx, known)
	}
	keys := is.source.current.Load()
	if keys == nil {
		return nil, &unavailableError{reason: "the issuer's keys could not be fetched yet"}
	}
	candidates := keys.find(token.keyID, token.algorithm)
	if len(candidates) == 0 {
		return nil, fmt.Errorf("the issuer has no key %.100q for algorithm %.20q", token.keyID, token.algorithm)
	}
	for _, key := range candidates {
		if key.verify(token.algorithm, token.input, token.signature) == nil {
			return key, nil
		}
	}
	return nil, errors.New("the signature does not hold")
}

// has reports whether some key has the id. The empty id, of a token that
// names none, is always had: no fetch could tell more.
func (s *keySet) has(id string) bool {
	return id == "" || slices.ContainsFunc(s.keys, func(key *verificationKey) bool { return key.id == id })
}

// confirmation returns the fingerprint of the certificate to which "cnf"
// binds the token (RFC 8705 section 3.1), in hex. A token that is bound to
// anything else (RFC 9449's jkt) is refused: whoever stole it could use it.
func confirmation(claims map[string]any) (string, error) {
	value, present := claims["cnf"]
	if !present {
		return "", nil
	}
	members, _ := value.(map[string]any)
	print, _ := members["x5t#S256"].(string)
	raw, err := decodeBase64(print)
	if err != nil || len(raw) != len(digest{}) || len(members) != 1 {
		return "", errors.New("the token is bound to a key whose possession cannot be checked here")
	}
	return fmt.Sprintf("%x", raw), nil
}
