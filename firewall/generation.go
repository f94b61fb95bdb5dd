package firewall

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/graphward/graphward/cost"
	"github.com/graphward/graphward/firewall/gqlhttp"
	"github.com/graphward/graphward/firewall/identity"
	"github.com/graphward/graphward/policy"
	"github.com/graphward/graphward/schema"
	"github.com/graphward/graphward/schema/persisted"
)

// generation is everything that a decision depends on, built whole and never
// changed (DESIGN.md section 1, rule 4). A request keeps the one it began with.
type generation struct {
	number uint64
	config *Config

	schema *schema.Schema
	model  *cost.Model
	// lenient prices what model refuses for its sizes; nil unless the mode of
	// PAGE_SIZE lets such operations through.
	lenient *cost.Model
	policy  *policy.Engine // nil under allow_all
	views   *views
	store   *persisted.Set
	usage   *usage
	pending bool // the manifests are still being loaded: nothing is served
	// openSlots are the requests in flight up to which the unidentified are
	// served: all of limits.in_flight where nobody can be identified.
	openSlots int64
	identity  identity.Authenticator
	recaller  identity.Recaller // identity, where it can
	release   func()            // frees what the identity sources hold
	known     *knownCallers

	// unknownTier says once a generation, and so never at a caller's pace,
	// that the policy named a tier that budgets.tiers lacks.
	unknownTier func(error)

	decode  gqlhttp.Options
	cors    *gqlhttp.CORS
	trusted []netip.Prefix
	route   *route

	// compile bounds what is parsed; where a limit of shape is only reported,
	// or a tier decides it, its ceiling is open here and checkShape looks at
	// the finished operation.
	compile schema.Limits

	// remote are digests of what was fetched, for Refresh.
	remote remoteSources

	// parseKey and planKey are digests of all that a compiled operation,
	// respectively a plan, depends on besides the document.
	parseKey, planKey [32]byte
	schemaID          string // hexadecimal digest, for records
}

// openCeiling stands in for a limit that is checked on the finished operation.
const openCeiling = 1 << 30

// newGeneration builds a generation or says everything that is wrong, in all
// sources, at once. The error is one of those that New lists, or a join.
func newGeneration(ctx context.Context, number uint64, c *Config, o *options) (*generation, error) {
	g := &generation{views: &views{}, known: &knownCallers{}, number: number, config: c, release: func() {}}
	var once sync.Once
	g.unknownTier = func(err error) {
		once.Do(func() { o.log.Warn().Err(err).Uint64("generation", number).Msg("such callers get the default tier") })
	}
	if err := g.load(ctx, o); err != nil {
		return nil, err
	}
	g.openSlots = int64(c.Limits.InFlight)
	embedded := o.authenticator != nil && o.release == nil // else it is the last generation's
	if id := &c.Identity; embedded || len(id.JWT) > 0 || len(id.Introspection) > 0 || id.APIKeys != nil || c.TLS.ClientAuth != "off" {
		g.openSlots -= g.openSlots / 8
	}
	if err := g.openIdentity(ctx, o); err != nil {
		return nil, err
	}
	if err := g.prepare(); err != nil {
		if o.release == nil {
			g.release()
		}
		return nil, err
	}
	return g, nil
}

// load reads schema, cost model, policy and manifests, and goes on after a
// problem as far as there is something to read it against.
func (g *generation) load(ctx context.Context, o *options) error {
	c := g.config
	var errs []error
	collect := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	problems := c.Validate()
	if o.offline {
		for _, p := range c.Identity.CheckFiles() {
			problems = append(problems, Problem{"identity." + p.Path, p.Message})
		}
	}
	if len(c.Upstream.addresses()) == 0 && o.handler == nil && !o.offline {
		problems = append(problems, Problem{"upstream.url", "is needed: the GraphQL endpoint that the firewall stands in front of"})
	}
	absent := c.absences()
	if problems = append(problems, absent...); len(problems) > 0 {
		collect(&ConfigError{problems})
	}
	if len(c.Schema.Files) == 0 && !c.Schema.Introspect || concerns(absent, "schema.") {
		return errors.Join(errs...)
	}
	var err error
	if g.schema, err = g.loadSchema(ctx, o); err != nil {
		return errors.Join(append(errs, err)...)
	}
	g.model, err = cost.NewModel(g.schema, c.Cost.options())
	if err == nil && g.mode("PAGE_SIZE") != Enforce {
		g.lenient, err = cost.NewModel(g.schema, c.Cost.lenient())
	}
	if e := (*cost.ModelError)(nil); errors.As(err, &e) {
		problems := make([]Problem, len(e.Problems))
		for i, p := range e.Problems {
			problems[i] = Problem{"cost." + p.Key, p.Message}
		}
		err = &ConfigError{problems}
	}
	collect(err)
	collect(g.checkCoordinates())
	if o.offline {
		collect(c.checkTLS())
	}
	if !c.allowAll() && (len(c.Policy.Paths) > 0 || c.Policy.Bundle != BundleConfig{}) && !concerns(absent, "policy.") {
		policyOptions, err := c.policyOptions(ctx, g.schema, o)
		if err == nil {
			g.remote.bundle = bundleDigest(policyOptions.Bundle)
			g.policy, err = policy.Load(ctx, policyOptions)
		}
		if err == nil && !o.offline {
			g.policy.Warm(ctx)
		}
		collect(err)
	}
	if !concerns(absent, "operations.") {
		collect(g.loadManifests(ctx, o))
	}
	return errors.Join(errs...)
}

// policyOptions says what the policy is read from and against.
func (c *Config) policyOptions(ctx context.Context, s *schema.Schema, o *options) (policy.Options, error) {
	out := policy.Options{
		Schema: s, Paths: c.Policy.Paths, Data: c.Policy.Data, Timeout: c.Policy.Timeout.Std(),
		Tiers: tierNames(c), Headers: c.Policy.Headers, OnDeny: c.Policy.OnDeny,
		OnDenyMutation: c.Policy.OnDenyMutation, ParentNonNull: c.Policy.ParentNonNull,
	}
	var err error
	if out.MaskKey, err = c.Policy.maskKey(); err != nil {
		return out, err
	}
	out.Bundle, err = o.bundles.bundle(ctx, &c.Policy.Bundle)
	return out, err
}

// maskKey reads the key of mask.hash; nil where none is named.
func (c *PolicyConfig) maskKey() ([]byte, error) {
	if c.MaskKeyFile == "" {
		return nil, nil
	}
	key, err := os.ReadFile(c.MaskKeyFile)
	if err != nil {
		return nil, &ConfigError{[]Problem{{"policy.mask_key_file", err.Error()}}}
	}
	if key = bytes.TrimSpace(key); len(key) < policy.MinMaskKey {
		return nil, &ConfigError{[]Problem{{"policy.mask_key_file", fmt.Sprintf("%s holds %d bytes; a key needs %d", c.MaskKeyFile, len(key), policy.MinMaskKey)}}}
	}
	return key, nil
}

// TestPolicy runs the policy's Rego tests and prints them to out as `opa test`
// does. The error is New's, or the tester's.
func TestPolicy(ctx context.Context, c *Config, t policy.TestOptions, out io.Writer) (*policy.TestReport, error) {
	o := &options{offline: true, bundles: &bundleSource{}}
	absent := slices.DeleteFunc(c.absences(), func(p Problem) bool {
		return concerns([]Problem{p}, "operations.") // a policy's tests do without manifests
	})
	if problems := append(c.Validate(), absent...); len(problems) > 0 {
		return nil, &ConfigError{problems}
	}
	if c.allowAll() {
		return nil, &ConfigError{[]Problem{{"allow_all", "leaves no policy to test"}}}
	}
	s, err := (&generation{config: c}).loadSchema(ctx, o)
	if err != nil {
		return nil, err
	}
	policyOptions, err := c.policyOptions(ctx, s, o)
	if err != nil {
		return nil, err
	}
	return policy.Test(ctx, policyOptions, t, out)
}

// clientHeaders are the headers in which clients name themselves and their
// version; a page's preflight asks for them.
func (c *Config) clientHeaders() []string {
	names := c.Identity.ClientHeaders
	if names == nil {
		names = identity.DefaultClientHeaders()
	}
	var out []string
	for _, n := range names {
		out = append(out, n)
		if stem, ok := strings.CutSuffix(strings.ToLower(n), "-name"); ok {
			out = append(out, stem+"-version")
		}
	}
	return out
}

// allowAll reports whether the config says so, in either of its places.
func (c *Config) allowAll() bool { return c.AllowAll || c.Policy.AllowAll }

// loadSchema reads the schema. What came from elsewhere than files is hashed
// into g.remote, for Refresh.
func (g *generation) loadSchema(ctx context.Context, o *options) (*schema.Schema, error) {
	c := g.config
	if !c.Schema.Introspect {
		return schema.LoadFiles(c.Schema.Files...)
	}
	result, err := o.introspected(ctx, c)
	if err != nil {
		return nil, err
	}
	g.remote.schema = sha256.Sum256(result)
	return schema.FromIntrospection(c.Upstream.String(), result)
}

func (o *options) introspected(ctx context.Context, c *Config) ([]byte, error) {
	if o.offline {
		return nil, &ConfigError{[]Problem{{"schema.introspect", "needs the upstream; this command runs without it: give schema.files"}}}
	}
	result, err := o.introspect(ctx, c)
	if err != nil {
		return nil, &ConfigError{[]Problem{{"schema.introspect", fmt.Sprintf("the upstream did not give its schema: %v", err)}}}
	}
	return result, nil
}

func (c *CostConfig) options() cost.Options {
	o := cost.Options{Profile: c.Profile, Weights: c.Weights, ListSizes: c.ListSizes, PageSize: c.PageSize,
		NegativeSize: c.NegativeSize, IgnoreRequireOne: c.RequireOneSlicingArgument == "ignore"}
	switch n := c.DefaultListSize; {
	case n == nil:
	case *n == NoListSize:
		o.NoDefaultListSize = true
	default:
		size := int(*n)
		o.DefaultListSize = &size
	}
	return o
}

// lenient are the options without the rules of PAGE_SIZE: any page counts as
// long as it says, and a list that nothing sizes has the usual length.
func (c *CostConfig) lenient() cost.Options {
	o := c.options()
	least, most, usual := math.MinInt32, math.MaxInt32, 10
	o.PageSize = cost.PageSize{Min: &least, Max: &most}
	o.NegativeSize, o.IgnoreRequireOne = cost.NegativeFallback, true
	switch o.Profile {
	case cost.GitHub, cost.Shopify, cost.ShopifyLog: // they refuse such lists
		if o.DefaultListSize == nil {
			o.DefaultListSize, o.NoDefaultListSize = &usual, false
		}
	}
	return o
}

func tierNames(c *Config) []string {
	names := slices.Sorted(maps.Keys(c.Budgets.Tiers))
	if names == nil {
		names = []string{}
	}
	return names
}

// checkCoordinates refuses config keys that name fields the schema lacks.
func (g *generation) checkCoordinates() error {
	var problems []Problem
	root := g.schema.AST()
	for _, coordinate := range slices.Sorted(maps.Keys(g.config.Budgets.Overrides.RootFields)) {
		typ, field := splitCoordinate(coordinate)
		def := root.Types[typ]
		path := "budgets.overrides.root_fields." + coordinate
		switch {
		case def == nil || (def != root.Query && def != root.Mutation):
			problems = append(problems, Problem{path, typ + " is not a root type of the schema"})
		case def.Fields.ForName(field) == nil:
			problems = append(problems, Problem{path, typ + " has no field " + field})
		}
	}
	if problems == nil {
		return nil
	}
	return &ConfigError{problems}
}

// sourceChanged tells the operator of keys that could or could not be had.
func (o *options) sourceChanged(s identity.SourceStatus) {
	event := o.log.Info()
	if s.Err != nil {
		event = o.log.Warn().Err(s.Err)
	}
	event.Str("source", s.Source).Int("entries", s.Entries).Msg("identity source")
}

func (g *generation) openIdentity(ctx context.Context, o *options) error {
	if o.authenticator != nil {
		g.identity = o.authenticator
		if o.release != nil {
			g.release = o.release
		}
	} else {
		opts := []identity.Option{identity.WithReport(o.sourceChanged)}
		if t := &g.config.TLS; t.SPIFFE != nil && t.ClientAuth != "off" {
			opts = append(opts, identity.WithVerifiedPeers())
		}
		a, err := identity.New(ctx, g.config.Identity, opts...)
		if err != nil {
			return err
		}
		g.identity, g.release = a, func() { _ = a.Close() }
	}
	g.recaller, _ = g.identity.(identity.Recaller)
	if g.trusted = g.config.Identity.Proxies(); mutated("trusted proxies") {
		g.trusted = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	}
	return nil
}

// prepare derives what requests need from the parts.
func (g *generation) prepare() (err error) {
	c := g.config
	g.decode = gqlhttp.Options{
		Texts:   gqlhttp.NewTexts(),
		MaxBody: int(c.Limits.Body), MaxURL: int(c.Limits.URL), MaxHeaders: int(c.Limits.Headers), MaxBatch: c.Limits.Batch,
		BodyTime: bodyBounded, CSRFHeaders: c.CSRF.Headers, Extensions: c.Upstream.Extensions,
	}
	origins := c.CORS.Origins
	if mutated("origins") {
		origins = []string{"*"}
	}
	g.cors, err = gqlhttp.NewCORS(gqlhttp.CORSOptions{Origins: origins,
		Headers:     slices.Concat(c.CORS.Headers, c.CSRF.Headers, c.clientHeaders()),
		Credentials: c.CORS.Credentials && !mutated("origins"), MaxAge: c.CORS.MaxAge.Std(), Upstream: c.CORS.Upstream})
	if err != nil {
		return &ConfigError{[]Problem{{"cors.origins", err.Error()}}}
	}
	g.compile = g.open(c.Limits.compile(), g.store.Highest())
	h := sha256.New()
	d := g.schema.Digest()
	h.Write(d[:])
	fmt.Fprintf(h, "%+v", g.compile)
	h.Sum(g.parseKey[:0])
	d = g.model.Digest()
	h.Write(d[:])
	if g.lenient != nil {
		d = g.lenient.Digest()
		h.Write(d[:])
	}
	if g.policy != nil {
		// A binding belongs to its engine, and each generation has its own.
		fmt.Fprintf(h, "%s %d", g.policy.Revision(), g.number)
	}
	h.Sum(g.planKey[:0])
	g.schemaID = hexDigest(g.schema.Digest())
	return nil
}

// open raises limits of shape to what a registered document may have, and all
// the way where their codes are not enforced.
func (g *generation) open(limits schema.Limits, raise persisted.Raise) schema.Limits {
	for _, l := range [...]struct {
		code  string
		limit *int
		raise int
	}{{"DEPTH_LIMIT", &limits.Depth, raise.Depth}, {"ALIAS_LIMIT", &limits.Aliases, raise.Aliases},
		{"ROOT_FIELD_LIMIT", &limits.RootFields, raise.RootFields}, {"DIRECTIVE_LIMIT", &limits.Directives, raise.Directives}} {
		*l.limit = max(*l.limit, l.raise)
		if g.mode(l.code) != Enforce {
			*l.limit = openCeiling
		}
	}
	return limits
}

// bodyBounded says that ServeHTTP has set the body's deadline already.
const bodyBounded = -1

func (l *LimitsConfig) compile() schema.Limits {
	return schema.Limits{
		Document: int(l.Document), Tokens: l.Tokens, Fragments: l.Fragments, ValueDepth: l.ValueDepth, ListItems: l.ListItems,
		Depth: l.Depth, Aliases: l.Aliases, RootFields: l.RootFields, Directives: l.Directives,
	}
}

// mode returns what a refusal code does in this generation. It is asked in one
// place, judge.refuse, and where a ceiling opens for a code that only reports.
func (g *generation) mode(code string) Mode {
	if mutated(code) {
		return Off
	}
	if m, ok := g.config.Modes[code]; ok {
		return m
	}
	return Enforce
}

func splitCoordinate(c string) (typ, field string) {
	for i := range c {
		if c[i] == '.' {
			return c[:i], c[i+1:]
		}
	}
	return c, ""
}
