package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	maxDocument  = 1 << 20 // bytes of a key set, discovery or introspection answer
	fetchTimeout = 5 * time.Second
)

// fetcher asks issuers and authorization servers. It bounds every exchange
// in time and size, follows no redirect (the URL is the trust anchor) and
// sends no cookie.
type fetcher struct{ client *http.Client }

func newFetcher(transport http.RoundTripper, roots *x509.CertPool) *fetcher {
	if transport == nil {
		transport = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			MaxIdleConnsPerHost:    4,
			MaxConnsPerHost:        16,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		}
	}
	return &fetcher{client: &http.Client{
		Transport:     transport,
		Timeout:       fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// readRoots reads the certificates of ca_file; nil, the system's, without one.
func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := (&watchedFile{path: file}).load(context.Background())
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("holds no PEM certificate")
	}
	return roots, nil
}

func (f *fetcher) close() { f.client.CloseIdleConnections() }

// do sends a request and returns the body of its 200 answer.
func (f *fetcher) do(r *http.Request) ([]byte, error) {
	r.Header.Set("Accept", "application/json, application/jwk-set+json")
	r.Header.Set("User-Agent", "graphward")
	res, err := f.client.Do(r)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // the URL is named by the caller
		}
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answered with status %d", res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxDocument {
		return nil, fmt.Errorf("answered with more than %d bytes", maxDocument)
	}
	return body, nil
}

func (f *fetcher) get(ctx context.Context, address string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	return f.do(r)
}

// discover returns the jwks_uri of an issuer's metadata (OpenID Connect
// Discovery 1.0 sections 4.1 to 4.3).
func (f *fetcher) discover(ctx context.Context, issuer string) (string, error) {
	body, err := f.get(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return "", fmt.Errorf("discovery: %w", err)
	}
	metadata, err := decodeObject(body)
	if err != nil {
		return "", fmt.Errorf("discovery: answer %w", err)
	}
	if named, _ := metadata["issuer"].(string); named != issuer {
		return "", fmt.Errorf("discovery: answer is for the issuer %q", named)
	}
	address, _ := metadata["jwks_uri"].(string)
	if err := validURL(address); err != nil {
		return "", fmt.Errorf("discovery: jwks_uri: %w", err)
	}
	return address, nil
}
