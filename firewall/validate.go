package firewall

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/graphward/graphward/cost"
	"github.com/graphward/graphward/firewall/gqlhttp"
)

// Problem is one thing wrong in a [Config]. Path is the key as the file nests
// it, such as "budgets.tiers.gold.cost" or "identity.jwt[0].issuer"; configfile
// turns it into line and column. Message says what would be right.
type Problem struct {
	Path    string
	Message string
}

func (p Problem) String() string { return p.Path + ": " + p.Message }

// ConfigError lists every problem of a configuration.
type ConfigError struct{ Problems []Problem }

func (e *ConfigError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// validation collects problems.
type validation struct{ problems []Problem }

func (v *validation) add(path, format string, args ...any) {
	v.problems = append(v.problems, Problem{path, fmt.Sprintf(format, args...)})
}

func (v *validation) oneOf(path, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		v.add(path, "%q is not one of %s", value, strings.Join(allowed, ", "))
	}
}

func (v *validation) positive(path string, value int64) {
	if value <= 0 {
		v.add(path, "must be greater than 0: there is no unlimited")
	}
}

func (v *validation) notYet(set bool, path, what string) {
	if set {
		v.add(path, "%s is not built yet in this version; remove the key", what)
	}
}

// Validate returns every problem that can be seen without reading other files.
// It does not change c.
func (c *Config) Validate() []Problem {
	v := &validation{}
	c.validateListeners(v)
	c.validateUpstream(v)
	c.validateSources(v)
	c.validateLimits(v)
	c.validateCost(v)
	c.validateBudgets(v)
	c.validateResponses(v)
	for _, p := range c.Identity.Validate() {
		v.add("identity."+p.Path, "%s", p.Message)
	}
	for _, p := range c.Audit.Validate() {
		v.add("audit."+p.Path, "%s", p.Message)
	}
	return v.problems
}

func (c *Config) validateListeners(v *validation) {
	if !hostPort(c.Listen) {
		v.add("listen", "%q is not host:port", c.Listen)
	}
	if !strings.HasPrefix(c.Path, "/") {
		v.add("path", "%q must begin with /", c.Path)
	}
	switch c.TLS.Mode {
	case "", "off":
		if c.TLS.Mode == "" && !loopback(c.Listen) {
			v.add("listen", "%s is not a loopback address and there is no TLS: set tls, or say `tls: off` where something in front ends it", c.Listen)
		}
		if c.TLS.CertFile != "" || c.TLS.KeyFile != "" || c.TLS.ClientCAFile != "" || c.TLS.SPIFFE != nil {
			v.add("tls.mode", "must be on: certificates are given")
		}
	case "on":
		if s := c.TLS.SPIFFE; s != nil {
			s.validate(v, "tls.spiffe", c.TLS.ClientAuth != "off")
			if c.TLS.CertFile != "" || c.TLS.KeyFile != "" || c.TLS.ClientCAFile != "" {
				v.add("tls.spiffe", "cannot stand beside files: one of them is not meant")
			}
			break
		}
		if c.TLS.CertFile == "" {
			v.add("tls.cert_file", "is needed with mode: on")
		}
		if c.TLS.KeyFile == "" {
			v.add("tls.key_file", "is needed with mode: on")
		}
		if c.TLS.ClientAuth != "off" && c.TLS.ClientCAFile == "" {
			v.add("tls.client_ca_file", "is needed with client_auth: %s", c.TLS.ClientAuth)
		}
	default:
		v.add("tls.mode", "%q is not one of off, on", c.TLS.Mode)
	}
	v.oneOf("tls.client_auth", c.TLS.ClientAuth, "off", "optional", "required")
	if a := c.Admin; a.Listen != "" {
		if !hostPort(a.Listen) {
			v.add("admin.listen", "%q is not host:port", a.Listen)
		} else if a.Listen == c.Listen {
			v.add("admin.listen", "must differ from listen: operators and clients never share a listener")
		} else if !loopback(a.Listen) && a.TokenFile == "" {
			v.add("admin.token_file", "is needed: %s is not a loopback address", a.Listen)
		}
	}
	v.positive("timeouts.header", int64(c.Timeouts.Header))
	v.positive("timeouts.body", int64(c.Timeouts.Body))
	v.positive("timeouts.idle", int64(c.Timeouts.Idle))
	v.positive("timeouts.write", int64(c.Timeouts.Write))
	v.positive("timeouts.queue", int64(c.Timeouts.Queue))
	v.positive("timeouts.drain", int64(c.Timeouts.Drain))
	if c.Limits.Queue > 0 && c.Timeouts.Queue >= c.Timeouts.Body {
		v.add("timeouts.queue", "must be shorter than timeouts.body (%v), which runs while a request waits", c.Timeouts.Body.Std())
	}
}

func hostPort(address string) bool {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = net.DefaultResolver.LookupPort(context.Background(), "tcp", port)
	}
	return err == nil
}

func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

func (c *Config) validateUpstream(v *validation) {
	if c.Upstream.URL != "" {
		v.endpoint("upstream.url", c.Upstream.URL)
	}
	c.Upstream.validateURLs(v)
	v.positive("upstream.timeout", int64(c.Upstream.Timeout))
	v.positive("upstream.max_response", int64(c.Upstream.MaxResponse))
	t := c.Upstream.TLS
	if (t.CertFile == "") != (t.KeyFile == "") {
		v.add("upstream.tls", "cert_file and key_file are only useful together")
	}
	if t.SPIFFE != nil {
		t.SPIFFE.validate(v, "upstream.tls.spiffe", true)
		if t.CAFile != "" || t.CertFile != "" || t.ServerName != "" {
			v.add("upstream.tls.spiffe", "cannot stand beside files or server_name: SPIFFE IDs take their place")
		}
	}
	if t != (UpstreamTLSConfig{}) && strings.HasPrefix(c.Upstream.String(), "http://") {
		v.add("upstream.tls", "the upstream's URL is http")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Upstream.Headers.Set)) {
		v.headerName("upstream.headers.set."+name, name)
	}
	c.Upstream.validateIdentity(v)
	for i, name := range c.Upstream.Headers.Remove {
		v.headerName(fmt.Sprintf("upstream.headers.remove[%d]", i), name)
	}
}

// endpoint checks an address of the upstream.
func (v *validation) endpoint(path, address string) {
	u, err := url.Parse(address)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		v.add(path, "%q is not an http or https URL", redactURL(address))
	case u.User != nil:
		v.add(path, "must not hold credentials: set a header in upstream.headers.set")
	case u.Fragment != "" || u.RawQuery != "":
		v.add(path, "must not have a query or a fragment")
	}
}

func (v *validation) headerName(path, name string) (ok bool) {
	valid := name != ""
	for i := 0; i < len(name); i++ {
		if b := name[i]; b <= ' ' || b >= 0x7f || strings.IndexByte("()<>@,;:\\\"/[]?={}", b) >= 0 {
			valid = false
		}
	}
	if !valid {
		v.add(path, "%q is not a header name", name)
		return false
	}
	switch http.CanonicalHeaderKey(name) {
	case "Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Te", "Trailer":
		v.add(path, "%s belongs to the connection and cannot be set or removed", name)
		return false
	}
	return true
}

func (c *Config) validateSources(v *validation) {
	switch {
	case len(c.Schema.Files) == 0 && !c.Schema.Introspect:
		v.add("schema.files", "is needed: name the schema's files, or set schema.introspect")
	case len(c.Schema.Files) > 0 && c.Schema.Introspect:
		v.add("schema.introspect", "cannot stand beside schema.files")
	}
	if c.Schema.Refresh != 0 && !c.Schema.Introspect {
		v.add("schema.refresh", "needs schema.introspect: true; files are watched")
	}
	p := c.Policy
	allowAll := c.allowAll()
	bundle := p.Bundle != BundleConfig{}
	switch {
	case allowAll && (len(p.Paths) > 0 || bundle):
		v.add("allow_all", "cannot stand beside a policy: one of them is not meant")
	case !allowAll && len(p.Paths) == 0 && !bundle:
		v.add("policy.paths", "is needed: name the Rego files, or say `allow_all: true`")
	}
	p.Bundle.validate(v)
	v.oneOf("policy.on_deny", p.OnDeny, "reject", "filter")
	v.oneOf("policy.on_deny_mutation", p.OnDenyMutation, "reject", "filter")
	if p.OnDenyMutation == "filter" && p.OnDeny == "reject" {
		v.add("policy.on_deny_mutation", "filter is only useful with on_deny: filter")
	}
	v.oneOf("policy.parent_non_null", p.ParentNonNull, "refuse", "accept")
	v.positive("policy.timeout", int64(p.Timeout))
	for i, h := range p.Headers {
		v.headerName(fmt.Sprintf("policy.headers[%d]", i), h)
	}
	o := c.Operations
	switch {
	case o.Adhoc == "" && len(o.Manifests) == 0:
		v.add("operations.adhoc", "is needed where there is no manifest: allow, deny or policy")
	case o.Adhoc == "report":
		v.add("operations.adhoc", "report is said by `modes: {OPERATION_NOT_ALLOWED: report}`; adhoc is allow, deny or policy")
	case o.Adhoc != "":
		v.oneOf("operations.adhoc", o.Adhoc, "allow", "deny", "policy")
	}
	if o.Adhoc == "policy" && allowAll {
		v.add("operations.adhoc", "policy needs a policy: there is allow_all")
	}
	c.validateManifests(v)
	c.validateTierName(v, "operations.unregistered.tier", o.Unregistered.Tier)
	v.shape("operations.unregistered.limits", o.Unregistered.Limits, c.Limits.ShapeLimits)
	if !finite(o.Unregistered.Cost.Max) {
		v.add("operations.unregistered.cost.max", "must be a number of 0 or more")
	}
}

func (b *BundleConfig) validate(v *validation) {
	if b.File != "" && b.URL != "" {
		v.add("policy.bundle.url", "cannot stand beside file: a policy has one source")
	}
	if b.File == "" && b.URL == "" && *b != (BundleConfig{}) {
		v.add("policy.bundle", "needs a file or a url")
	}
	if b.Poll != 0 && b.URL == "" {
		v.add("policy.bundle.poll", "is for a url; a file is watched")
	}
	if b.URL == "" {
		return
	}
	u, err := url.Parse(b.URL)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		v.add("policy.bundle.url", "%q is not an http or https URL", redactURL(b.URL))
	case u.Scheme == "http" && b.Signing == "" && !loopback(net.JoinHostPort(u.Hostname(), "80")):
		v.add("policy.bundle.url", "is plain http: whoever is on the way could write the policy; use https, or sign the bundle")
	}
}

func (c *Config) validateTierName(v *validation, path, tier string) {
	if _, ok := c.Budgets.Tiers[tier]; tier != "" && !ok {
		v.add(path, "there is no tier %q in budgets.tiers", tier)
	}
}

func (v *validation) shape(path string, s, ceiling ShapeLimits) {
	for _, l := range []struct {
		key      string
		got, max int
	}{{"depth", s.Depth, ceiling.Depth}, {"aliases", s.Aliases, ceiling.Aliases},
		{"root_fields", s.RootFields, ceiling.RootFields}, {"directives", s.Directives, ceiling.Directives}} {
		if l.got < 0 {
			v.add(path+"."+l.key, "must not be negative")
		} else if l.got > l.max {
			v.add(path+"."+l.key, "%d is above limits.%s (%d): limits are ceilings, a tier can only lower them", l.got, l.key, l.max)
		}
	}
}

func (c *Config) validateLimits(v *validation) {
	l := c.Limits
	for _, n := range []struct {
		key   string
		value int64
	}{{"body", int64(l.Body)}, {"document", int64(l.Document)}, {"tokens", int64(l.Tokens)}, {"depth", int64(l.Depth)},
		{"aliases", int64(l.Aliases)}, {"root_fields", int64(l.RootFields)}, {"directives", int64(l.Directives)},
		{"fragments", int64(l.Fragments)}, {"value_depth", int64(l.ValueDepth)}, {"list_items", int64(l.ListItems)},
		{"batch", int64(l.Batch)}, {"url", int64(l.URL)}, {"headers", int64(l.Headers)}, {"connections", int64(l.Connections)}, {"plan_cache", int64(l.PlanCache)}, {"in_flight", int64(l.InFlight)}} {
		v.positive("limits."+n.key, n.value)
	}
	for _, n := range []struct {
		key   string
		value int
	}{{"queue", l.Queue}, {"connections_per_address", l.ConnectionsPerAddress}} {
		if n.value < 0 {
			v.add("limits."+n.key, "must not be negative")
		}
	}
	for _, code := range slices.Sorted(maps.Keys(c.Modes)) {
		path := "modes." + code
		row, known := gqlhttp.Lookup(code)
		switch {
		case !known:
			v.add(path, "there is no refusal code %s", code)
		case c.Modes[code] == Enforce:
		case c.Modes[code] != Report && c.Modes[code] != Off:
			v.add(path, "%q is not one of enforce, report, off", c.Modes[code])
		case !row.Reportable:
			v.add(path, "%s is always enforced: only the codes marked R in the README take report or off", code)
		}
	}
}

// finite reports whether n is a number of 0 or more: YAML has .nan, which no
// comparison refuses, and .inf, which is no limit.
func finite(n float64) bool { return n >= 0 && !math.IsInf(n, 1) }

func (c *Config) validateCost(v *validation) {
	if !finite(c.Cost.Max) || c.Cost.Max == 0 {
		v.add("cost.max", "must be greater than 0: there is no unlimited")
	}
	for _, kind := range slices.Sorted(maps.Keys(c.Cost.MaxByKind)) {
		v.oneOf("cost.max_by_kind."+kind, kind, "query", "mutation")
		if n := c.Cost.MaxByKind[kind]; !(n > 0 && n <= c.Cost.Max) {
			v.add("cost.max_by_kind."+kind, "%g must be above 0 and at most cost.max (%g): it can only lower it", n, c.Cost.Max)
		}
	}
	if !slices.Contains(cost.Profiles(), c.Cost.Profile) {
		v.add("cost.profile", "%q is not one of %v", c.Cost.Profile, cost.Profiles())
	}
	v.oneOf("cost.negative_size", string(c.Cost.NegativeSize), string(cost.NegativeRefuse), string(cost.NegativeFallback))
	v.oneOf("cost.require_one_slicing_argument", c.Cost.RequireOneSlicingArgument, "refuse", "ignore")
	v.oneOf("cost.actual", c.Cost.Actual, "off", "on")
	v.positive("cost.actual_max_bytes", int64(c.Cost.ActualMaxBytes))
	if p := c.Cost.PageSize; p.Min != nil && p.Max != nil && *p.Min > *p.Max {
		v.add("cost.page_size", "min %d and max %d are no range", *p.Min, *p.Max)
	}
}

func (c *Config) validateBudgets(v *validation) {
	b := c.Budgets
	if b.Store != "memory" {
		u, err := url.Parse(b.Store.Reveal())
		if err != nil || (u.Scheme != "redis" && u.Scheme != "rediss") || u.Host == "" {
			v.add("budgets.store", "must be memory or redis://host:port/db")
		}
	}
	v.oneOf("budgets.lease", b.Lease, "off", "on")
	if b.Lease == "on" && b.Store == "memory" {
		v.add("budgets.lease", "is for a store that others share; this one is memory")
	}
	v.positive("budgets.timeout", int64(b.Timeout))
	if len(b.Key) == 0 {
		v.add("budgets.key", "needs at least one of subject, api_key, certificate, ip")
	}
	for i, k := range b.Key {
		v.oneOf(fmt.Sprintf("budgets.key[%d]", i), k, "subject", "api_key", "certificate", "ip")
	}
	v.oneOf("budgets.on_store_failure", b.OnStoreFailure, "deny", "allow", "local")
	if _, ok := b.Tiers["default"]; len(b.Tiers) > 0 && !ok {
		v.add("budgets.tiers", "needs a tier named default: it holds for whoever has no other")
	}
	for _, name := range slices.Sorted(maps.Keys(b.Tiers)) {
		t := b.Tiers[name]
		path := "budgets.tiers." + name
		if t.InFlight < 0 {
			v.add(path+".in_flight", "must not be negative")
		}
		if !finite(t.MaxCost) {
			v.add(path+".max_cost", "must be a number of 0 or more")
		}
		v.shape(path+".limits", t.Limits, c.Limits.ShapeLimits)
	}
	for _, client := range slices.Sorted(maps.Keys(b.Overrides.Clients)) {
		c.validateTierName(v, "budgets.overrides.clients."+client, b.Overrides.Clients[client])
	}
	for _, coordinate := range slices.Sorted(maps.Keys(b.Overrides.RootFields)) {
		if typ, field, ok := strings.Cut(coordinate, "."); !ok || typ == "" || field == "" || strings.Contains(field, ".") {
			v.add("budgets.overrides.root_fields."+coordinate, "is not a field coordinate such as Mutation.login")
		}
	}
}

func (c *Config) validateResponses(v *validation) {
	r := c.Responses
	v.oneOf("responses.errors", r.Errors, "mask", "pass")
	v.oneOf("responses.suggestions", r.Suggestions, "strip", "pass")
	v.oneOf("responses.legacy_status", r.LegacyStatus, "ok", "code")
	v.oneOf("responses.shape", r.Shape, "off", "check")
	for i, name := range r.Headers.Remove {
		v.headerName(fmt.Sprintf("responses.headers.remove[%d]", i), name)
	}
	if c.CORS.Upstream {
		v.notYet(len(c.CORS.Origins) > 0, "cors.origins", "cors: upstream beside origins")
	}
	for i, o := range c.CORS.Origins {
		u, err := url.Parse(o)
		switch {
		case o == "*" && c.CORS.Credentials:
			v.add(fmt.Sprintf("cors.origins[%d]", i), "* cannot stand with credentials: true; name the origins")
		case o != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.Path != ""):
			v.add(fmt.Sprintf("cors.origins[%d]", i), "%q is not an origin such as https://app.example.com", o)
		}
	}
	for i, h := range c.CSRF.Headers {
		path := fmt.Sprintf("csrf.headers[%d]", i)
		if v.headerName(path, h) && !gqlhttp.ForcesPreflight(h) {
			v.add(path, "%s may stand in a request of any page without a preflight, so it proves nothing", h)
		}
	}
}
