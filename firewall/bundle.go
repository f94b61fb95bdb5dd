package firewall

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	neturl "net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/graphward/graphward/policy"
)

// bundleSource reads policy.bundle. Of a URL it keeps the last answer and its
// ETag, so that a poll that changed nothing costs one 304.
type bundleSource struct {
	mu      sync.Mutex
	url     string
	etag    string
	content []byte
	client  http.Client
}

// maxBundle bounds a bundle's tarball.
const maxBundle = 64 << 20

// bundle returns the bundle that the config names, nil for none. Its signature
// is verified by policy.Load.
func (s *bundleSource) bundle(ctx context.Context, c *BundleConfig) (*policy.Bundle, error) {
	if c.File == "" && c.URL == "" {
		return nil, nil
	}
	out := &policy.Bundle{Name: c.File}
	problem := func(key string, err error) error {
		return &ConfigError{[]Problem{{"policy.bundle." + key, err.Error()}}}
	}
	var err error
	if c.Signing != "" {
		key, err := os.ReadFile(c.Signing)
		if err != nil {
			return nil, problem("signing", err)
		}
		out.Signing = &policy.Signing{Key: string(key), Algorithm: c.Algorithm, KeyID: c.KeyID, Scope: c.Scope}
	}
	if c.File != "" {
		info, err := os.Stat(c.File)
		if err == nil && info.Size() > maxBundle {
			err = fmt.Errorf("%s has more than %d MiB", filepath.Base(c.File), maxBundle>>20)
		}
		if err != nil {
			return nil, problem("file", err)
		}
		if out.Content, err = os.ReadFile(c.File); err != nil {
			return nil, problem("file", err)
		}
		return out, nil
	}
	out.Name = redactURL(c.URL)
	if out.Content, err = s.fetch(ctx, c.URL); err != nil {
		return nil, problem("url", err)
	}
	return out, nil
}

func (s *bundleSource) fetch(ctx context.Context, url string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if s.url == url && s.etag != "" {
		req.Header.Set("If-None-Match", s.etag)
	}
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := s.client.Do(req)
	if err != nil {
		// Without the URL, whose query may be a signature.
		if u := (*neturl.Error)(nil); errors.As(err, &u) {
			err = u.Err
		}
		return nil, err
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusNotModified:
		if req.Header.Get("If-None-Match") != "" {
			return s.content, nil
		}
		return nil, errors.New("the server answered 304 to a request without a condition")
	default:
		return nil, fmt.Errorf("the server answered %s", res.Status)
	}
	content, err := io.ReadAll(io.LimitReader(res.Body, maxBundle+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxBundle {
		return nil, fmt.Errorf("the bundle has more than %d MiB", maxBundle>>20)
	}
	s.url, s.etag, s.content = url, res.Header.Get("Etag"), content
	return content, nil
}
