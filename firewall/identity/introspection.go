package identity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// How long an answer may be used: the time for which a revoked token
	// stays good, and for which a bad one costs no question.
	activeMemory   = time.Minute
	inactiveMemory = 10 * time.Second

	questionsAtOnce = 32
	maxSecret       = 4 << 10
)

// introspector asks one authorization server about tokens (RFC 7662).
type introspector struct {
	url       string
	issuer    string
	audiences map[string]bool
	claims    claimMap
	id        string
	secret    Secret
	fetch     *fetcher
	slots     chan struct{}
	flights   singleflight.Group
	stop      context.Context // ends the questions under way
}

func newIntrospector(stop context.Context, c *IntrospectionConfig, fetch *fetcher) (*introspector, error) {
	in := &introspector{
		url:       c.URL,
		issuer:    c.Issuer,
		audiences: make(map[string]bool, len(c.Audiences)),
		claims:    newClaimMap(c.Claims),
		id:        c.ClientID,
		fetch:     fetch,
		slots:     make(chan struct{}, questionsAtOnce),
		stop:      stop,
	}
	for _, audience := range c.Audiences {
		in.audiences[audience] = true
	}
	var err error
	if in.secret, err = readSecret(c.SecretFile); err != nil {
		return nil, &SourceError{Source: c.SecretFile, Err: err}
	}
	return in, nil
}

// readSecret reads a small file without its surrounding white space.
func readSecret(path string) (Secret, error) {
	file, err := os.Open(path)
	if err != nil {
		return Secret{}, reasonOf(err)
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err != nil {
		return Secret{}, reasonOf(err)
	}
	text := strings.TrimSpace(string(data))
	if text == "" || len(data) > maxSecret {
		return Secret{}, fmt.Errorf("is empty or longer than %d bytes", maxSecret)
	}
	return NewSecret(text), nil
}

// introspect asks the servers in turn. Only when each has said that the
// token is not active is that the answer: one that failed might know it.
func (v *Verifier) introspect(ctx context.Context, token string) (*Identity, error) {
	now := time.Now()
	of := v.digests.sum(token)
	known := v.opaque.get(of, now)
	if known == nil {
		if !isToken68(token) {
			return nil, errors.New("token has characters that none has")
		}
		known = &verdict{
			failure: &UnauthenticatedError{Reason: "the token is not active"},
			until:   now.Add(inactiveMemory),
		}
		for _, in := range v.introspectors {
			answer, err := in.ask(ctx, token, of)
			if err != nil {
				return nil, err
			}
			if answer != nil {
				known = answer
				break
			}
		}
		v.opaque.put(of, known)
	}
	if known.failure != nil {
		return nil, known.failure
	}
	return known.identity, nil
}

// isToken68 accepts what RFC 6750 section 2.1 lets a bearer token be.
func isToken68(text string) bool {
	body := strings.TrimRight(text, "=")
	for i := range len(body) {
		switch c := body[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~+/", c) >= 0:
		default:
			return false
		}
	}
	return body != ""
}

// ask returns nil when the server does not know the token as active. One
// question about a token serves all requests that wait for its answer, so
// it does not end with the request that happened to be first.
func (in *introspector) ask(ctx context.Context, token string, of digest) (*verdict, error) {
	flight := in.flights.DoChan(string(of[:]), func() (any, error) {
		select {
		case in.slots <- struct{}{}:
			defer func() { <-in.slots }()
		default:
			return (*verdict)(nil), &unavailableError{reason: "too many unknown tokens at once to ask about this one"}
		}
		return in.question(in.stop, token)
	})
	select {
	case result := <-flight:
		if result.Err != nil {
			return nil, result.Err
		}
		return result.Val.(*verdict), nil
	case <-ctx.Done():
		return nil, &unavailableError{reason: "the request ended before its token was judged"}
	}
}

func (in *introspector) question(ctx context.Context, token string) (*verdict, error) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, in.url, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(url.QueryEscape(in.id), url.QueryEscape(in.secret.Reveal()))
	body, err := in.fetch.do(r)
	if err != nil {
		return nil, &unavailableError{reason: fmt.Sprintf("introspection at %s: %s", in.url, err)}
	}
	answer, err := decodeObject(body)
	if err != nil {
		return nil, &unavailableError{reason: fmt.Sprintf("introspection at %s: answer %s", in.url, err)}
	}
	if active, _ := answer["active"].(bool); !active {
		return nil, nil
	}
	return in.judge(answer, time.Now()), nil
}

// judge turns an active token's answer into a verdict, which may be that it
// is not for us.
func (in *introspector) judge(answer map[string]any, now time.Time) *verdict {
	v := &verdict{until: now.Add(activeMemory)}
	id, err := in.identity(answer, now)
	if err != nil {
		v.failure = &UnauthenticatedError{Reason: err.Error()}
		return v
	}
	v.identity = id
	if !id.Expiry.IsZero() && id.Expiry.Before(v.until) {
		v.until = id.Expiry
	}
	return v
}

func (in *introspector) identity(answer map[string]any, now time.Time) (*Identity, error) {
	// The server's clock judged the token; ours only shortens.
	expiry, err := checkTimes(answer, now, defaultLeeway, false)
	if err != nil {
		return nil, err
	}
	issuer := in.issuer
	if named, present := answer["iss"]; present {
		text, ok := named.(string)
		if !ok || in.issuer != "" && text != in.issuer {
			return nil, errors.New("the introspection answer is of another issuer")
		}
		issuer = text
	}
	if len(in.audiences) > 0 {
		if err := checkAudience(answer, in.audiences); err != nil {
			return nil, err
		}
	}
	if _, bound := answer["cnf"]; bound {
		return nil, errors.New("the token is bound to a key whose possession cannot be checked here")
	}
	sub, err := subject(answer)
	if err != nil {
		return nil, err
	}
	id := &Identity{
		Authenticated: true,
		Subject:       sub,
		Issuer:        issuer,
		Claims:        answer,
		Method:        MethodIntrospection,
		Expiry:        expiry,
	}
	if err := in.claims.apply(id); err != nil {
		return nil, err
	}
	return id, nil
}
