package gqlhttp

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// CORSOptions is the cors block of the configuration. The zero value allows no
// origin.
type CORSOptions struct {
	// Origins are exact origins such as https://app.example:8443, or "*" alone.
	Origins []string
	// Headers are the request headers that a page may send besides
	// Content-Type and Authorization.
	Headers []string
	// Credentials allows cookies and HTTP authentication; not with "*".
	Credentials bool
	// MaxAge is how long a browser may keep a preflight's answer; 0 is 1 h,
	// negative forbids it.
	MaxAge time.Duration
	// Upstream leaves CORS to upstream: nothing is answered and nothing is
	// removed here.
	Upstream bool
}

// CORS answers preflights and marks answers. A nil *CORS allows no origin. It is
// immutable and safe for concurrent use.
type CORS struct {
	upstream    bool
	any         bool
	credentials bool
	origins     map[string][]string
	headers     []string
	maxAge      []string
}

// OriginError is an origin in cors.origins that cannot be one.
type OriginError struct {
	Origin string
	Reason string
}

func (e *OriginError) Error() string { return fmt.Sprintf("origin %q: %s", e.Origin, e.Reason) }

// NewCORS checks and compiles the options. The error is an *[OriginError].
func NewCORS(o CORSOptions) (*CORS, error) {
	c := &CORS{upstream: o.Upstream, credentials: o.Credentials, origins: map[string][]string{}}
	for _, origin := range o.Origins {
		if origin == "*" {
			if o.Credentials {
				return nil, &OriginError{origin, "cannot stand with credentials"}
			}
			c.any = true
			continue
		}
		if err := checkOrigin(origin); err != nil {
			return nil, err
		}
		c.origins[origin] = []string{origin}
	}
	if c.any && len(c.origins) > 0 {
		return nil, &OriginError{"*", "must stand alone"}
	}
	names := []string{"Authorization", "Content-Type"}
	for _, name := range o.Headers {
		if name = http.CanonicalHeaderKey(name); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	c.headers = []string{strings.Join(names, ", ")}
	if o.MaxAge == 0 {
		o.MaxAge = time.Hour
	}
	c.maxAge = []string{strconv.FormatInt(int64(max(o.MaxAge, 0)/time.Second), 10)}
	return c, nil
}

// checkOrigin demands the serialized form of an origin (RFC 6454 section 6.2),
// because it is compared byte for byte.
func checkOrigin(origin string) error {
	u, err := url.Parse(origin)
	switch {
	case err != nil || u.Scheme == "" || u.Host == "":
		return &OriginError{origin, "must be scheme://host or scheme://host:port"}
	case u.Scheme+"://"+u.Host != origin || origin != strings.ToLower(origin):
		return &OriginError{origin, "must be in lower case, without path, user or query"}
	case strings.Contains(u.Host, "*"):
		return &OriginError{origin, "wildcards in a host are not supported"}
	case u.Scheme == "https" && u.Port() == "443" || u.Scheme == "http" && u.Port() == "80":
		return &OriginError{origin, "must leave the default port out"}
	}
	return nil
}

// PassThrough reports whether upstream answers preflights.
func (c *CORS) PassThrough() bool { return c != nil && c.upstream }

// IsPreflight reports whether r is a CORS preflight (Fetch section 4.8).
func IsPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// ServePreflight answers a preflight and reports whether it did. Any other
// request, and all of them when upstream answers, are left alone. An origin
// that is not allowed gets the same status without the allowing headers.
func (c *CORS) ServePreflight(w http.ResponseWriter, r *http.Request) bool {
	if !IsPreflight(r) || c.PassThrough() {
		return false
	}
	h := w.Header()
	AddVary(h, "Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers")
	if c.allow(h, r.Header.Get("Origin")) {
		h["Access-Control-Allow-Methods"] = allowedMethods
		h["Access-Control-Allow-Headers"] = c.headers
		h["Access-Control-Max-Age"] = c.maxAge
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}

var (
	allowedMethods = []string{"GET, POST"}
	exposed        = []string{"Retry-After, RateLimit, RateLimit-Policy"}
	anyOrigin      = []string{"*"}
	isTrue         = []string{"true"}
)

// Decorate sets the CORS headers of an answer, a refusal too, and removes those
// that upstream had set. It is called when all other headers are in place.
func (c *CORS) Decorate(h http.Header, r *http.Request) {
	if c.PassThrough() {
		return
	}
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			delete(h, name)
		}
	}
	if c == nil || !c.any && len(c.origins) == 0 {
		return
	}
	if !c.any {
		AddVary(h, "Origin")
	}
	if c.allow(h, r.Header.Get("Origin")) {
		h["Access-Control-Expose-Headers"] = exposed
	}
}

func (c *CORS) allow(h http.Header, origin string) bool {
	if c == nil || origin == "" {
		return false
	}
	value, ok := c.origins[origin]
	switch {
	case c.any:
		value = anyOrigin
	case !ok:
		return false
	}
	h["Access-Control-Allow-Origin"] = value
	if c.credentials {
		h["Access-Control-Allow-Credentials"] = isTrue
	}
	return true
}
