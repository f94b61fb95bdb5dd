package firewall

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/graphward/graphward/firewall/gqlhttp"
	"github.com/graphward/graphward/schema"
)

// maxIntrospection bounds the upstream's introspection result; artsy's, with
// 2,275 types, has about 4 MB.
const maxIntrospection = 32 << 20

// fetchSchema asks the upstream for its schema (schema.introspect), with the
// headers of upstream.headers.set. Of several addresses the first that answers
// is believed.
func fetchSchema(ctx context.Context, rt http.RoundTripper, c *Config) (result []byte, err error) {
	targets := c.Upstream.addresses()
	if len(targets) == 0 {
		targets = []string{"http://in-process" + c.Path}
	}
	var errs []error
	for _, target := range targets {
		if result, err = fetchSchemaFrom(ctx, rt, c, target); err == nil {
			return result, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func fetchSchemaFrom(ctx context.Context, rt http.RoundTripper, c *Config, target string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Upstream.Timeout.Std())
	defer cancel()
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	body := gqlhttp.AppendRequest(nil, schema.IntrospectionQuery, "IntrospectionQuery", nil, nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(string(body)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	for name, value := range c.Upstream.Headers.Set {
		req.Header.Set(name, value.Reveal())
	}
	res, err := rt.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", res.StatusCode)
	}
	out, err := io.ReadAll(io.LimitReader(res.Body, maxIntrospection+1))
	if err == nil && len(out) > maxIntrospection {
		err = fmt.Errorf("the result is larger than %d MiB", maxIntrospection>>20)
	}
	return out, err
}

func urlOf(path string) *url.URL { return &url.URL{Path: path} }
