package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/graphward/graphward/schema"
)

// DefaultTimeout bounds one decision when Options.Timeout is zero.
const DefaultTimeout = 50 * time.Millisecond

// Options says what an [Engine] is made of.
type Options struct {
	// Schema is what the policy is checked against; required.
	Schema *schema.Schema
	// Paths are policy files and folders; of a folder every *.rego below it
	// but *_test.rego.
	Paths []string
	// Modules are policies in memory, Rego text by file name; those named
	// *_test.rego are tests.
	Modules map[string]string
	// Data are JSON or YAML files and folders of them. A file's members
	// become data.<name>; a file in a subfolder lies under the folder's name.
	Data []string
	// Bundle is an OPA bundle with policies and data, beside the others; nil for none.
	Bundle *Bundle
	// Timeout bounds the evaluation of one decision; 0 means DefaultTimeout.
	Timeout time.Duration
	// Tiers are the names that the config knows; nil accepts any.
	Tiers []string
	// Headers are the request headers that rules can read, in any case; nil
	// accepts any name.
	Headers []string
	// OnDeny is "filter" where a denied field costs the client that field
	// alone (Decision.Guards); "reject" or empty where it refuses the operation.
	OnDeny string
	// OnDenyMutation is "filter" where that holds for the root fields of
	// mutations too; "reject" or empty: a denied one refuses the mutation.
	OnDenyMutation string
	// ParentNonNull is "accept" where rules may read non-null fields of the
	// resolved object, although such a field, asked for on behalf of a rule,
	// makes the object null when it fails; "refuse" or empty: a load error.
	ParentNonNull string
	// MaskKey is the key of hash masks, at least MinMaskKey bytes; nil refuses
	// policies that use them.
	MaskKey []byte
}

// Engine is a policy, checked and compiled against one schema. It is
// immutable and safe for concurrent use; its caches are its own, so that a new
// policy, data or schema, which make a new Engine, can never meet an old answer.
type Engine struct {
	schema   *schema.Schema
	timeout  time.Duration
	tiers    []string
	revision string
	warnings []Problem
	compiled *compiled

	classes  []*class
	allow    lookup
	errors   lookup
	masks    lookup
	drops    lookup
	verdicts map[string]map[string]*verdict // by type and field
	distinct []*verdict
	// coordinates are the fields of object types by schema.FieldIndex; fields are
	// the same by the type's index in schema.Objects and the field's name.
	coordinates []*boundCoordinate
	fields      []map[string]*boundCoordinate

	arguments     map[argumentKey]*class
	argumentError map[argumentKey]*class
	inputs        map[coordinate]*class

	deny, adhoc, tier, introspection *class

	identity identityTable
	answers  *answers

	filter, filterMutation bool
	maskKey                []byte
}

type argumentKey struct{ typ, field, argument string }

// Load reads, checks and compiles a policy. The error is a *LoadError with
// every problem found, unless ctx ended.
func Load(ctx context.Context, o Options) (*Engine, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	r := &report{}
	src := newSources()
	src.read(&o, r)
	if src.policies == 0 && len(r.problems) == 0 {
		r.addFile(strings.Join(o.Paths, ", "), "no policy found: without one everything is denied")
	}
	c := &collector{schema: o.Schema.AST(), tiers: o.Tiers, groups: map[string]*group{}, report: r}
	c.collect(src.modules)
	checkModules(src.modules, r)
	checkShadows(c)
	isolate(c.order, src.modules)
	schemas, err := inputSchemas()
	if err != nil {
		return nil, err
	}
	compiled, err := compile(ctx, src.modules, src.data, schemas, r)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		schema: o.Schema, timeout: o.Timeout, tiers: o.Tiers, compiled: compiled,
		arguments: map[argumentKey]*class{}, argumentError: map[argumentKey]*class{}, inputs: map[coordinate]*class{},
		allow: newLookup(), errors: newLookup(), masks: newLookup(), drops: newLookup(),
		answers: newAnswers(),
		maskKey: o.MaskKey,
		filter:  o.OnDeny == "filter", filterMutation: o.OnDeny == "filter" && o.OnDenyMutation == "filter",
	}
	if e.timeout <= 0 {
		e.timeout = DefaultTimeout
	}
	if onlyTypeErrors(compiled.compiler) {
		e.classify(c.order, &o, src.data, r)
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	e.resolveAll(o.Schema.Objects())
	if err := e.identity.prepare(e); err != nil {
		return nil, err
	}
	if err := e.checkComputedMasks(ctx, r); err != nil {
		return nil, err
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	if e.revision, err = src.revision(&o); err != nil {
		return nil, err
	}
	e.warnFilters(r)
	e.warnUncovered(r)
	e.warnings = sorted(r.warnings)
	return e, ctx.Err()
}

// check refuses options that say nothing that is known.
func (o *Options) check() error {
	if o.Schema == nil {
		return errors.New("policy: Options.Schema is nil")
	}
	for _, c := range []struct{ name, value, other string }{
		{"OnDeny", o.OnDeny, "reject"}, {"OnDenyMutation", o.OnDenyMutation, "reject"},
	} {
		if c.value != "" && c.value != c.other && c.value != "filter" {
			return fmt.Errorf("policy: Options.%s is %q; it may be reject or filter", c.name, c.value)
		}
	}
	if n := len(o.MaskKey); n > 0 && n < MinMaskKey {
		return fmt.Errorf("policy: Options.MaskKey has %d bytes; it needs %d", n, MinMaskKey)
	}
	if o.ParentNonNull != "" && o.ParentNonNull != "refuse" && o.ParentNonNull != "accept" {
		return fmt.Errorf("policy: Options.ParentNonNull is %q; it may be refuse or accept", o.ParentNonNull)
	}
	return nil
}

// Revision identifies policy, data and schema together: hex SHA-256.
func (e *Engine) Revision() string { return e.revision }

// Warnings lists what is doubtful but not wrong, ordered by place.
func (e *Engine) Warnings() []Problem { return e.warnings }

// classify makes a class of each group and hangs it where it is looked up.
func (e *Engine) classify(groups []*group, o *Options, data map[string]any, r *report) {
	a := newAnalyser(e.compiled.compiler)
	reads := readChecker{report: r, headers: lowerCase(o.Headers)}
	arguments := argumentChecker{schema: o.Schema.AST(), report: r, seen: map[Problem]bool{}}
	texts := map[string]*class{}
	for _, g := range groups {
		rules := e.compiled.rulesAt(g)
		closure := a.close(rules)
		c := &class{id: len(e.classes), group: g, rule: g.rule(), reads: closure, impure: len(closure.impure) > 0}
		c.shape, c.paths = inputShape(&closure.paths), closure.paths.paths()
		if !g.vars {
			c.constant = constantValue(rules)
		}
		c.kind = classIdentity
		for _, top := range []string{"request", "operation", "args", "value"} {
			if closure.paths.has(top) {
				c.kind = classRequest
			}
		}
		if c.impure {
			c.kind = classRequest
		}
		if slices.ContainsFunc(closure.reads, func(rd read) bool { return rd.ofParent() }) {
			c.kind = classObject
			closure.parent = parentReads(closure)
			c.truths = parentTruths(closure)
			c.single, c.scans, c.entangled = a.single(closure)
			if c.single = c.single && !c.impure; !c.single {
				c.apart = a.apart(rules)
			}
			c.opaque = slices.ContainsFunc(closure.impure, func(name string) bool { return name != clock })
		}
		if c.same = texts[g.text]; c.same == nil || c.constant != nil {
			c.same = c
			texts[g.text] = c
		}
		reads.check(c)
		arguments.check(c)
		e.classes = append(e.classes, c)
		e.place(c)
	}
	e.checkParents(o, &arguments)
	e.checkAnswers(r)
	a.checkData(data, r)
	a.warnUnused(r)
}

// onlyTypeErrors reports whether compilation came as far as the type checker,
// so that what rules read can be told.
func onlyTypeErrors(c *ast.Compiler) bool {
	return !slices.ContainsFunc(c.Errors, func(e *ast.Error) bool { return e.Code != ast.TypeErr })
}

func lowerCase(names []string) []string {
	if names == nil {
		return nil
	}
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ToLower(n)
	}
	return out
}

// constantValue returns the value of a single definition without a body, such
// as `allow.Query.products := true`.
func constantValue(rules []*ast.Rule) *ast.Term {
	if len(rules) != 1 || rules[0].Else != nil || rules[0].Head.Value == nil || !rules[0].Head.Value.IsGround() {
		return nil
	}
	for _, expr := range rules[0].Body {
		if t, ok := expr.Terms.(*ast.Term); !ok || !ast.Boolean(true).Equal(t.Value) || expr.Negated || len(expr.With) > 0 {
			return nil
		}
	}
	if !ast.IsConstant(rules[0].Head.Value.Value) {
		return nil
	}
	return rules[0].Head.Value
}

func (e *Engine) place(c *class) {
	g := c.group
	switch g.kind {
	case entryAllow:
		e.allow.add(c)
	case entryError:
		if len(g.path) == 3 {
			e.argumentError[argumentKey{g.path[0], g.path[1], g.path[2]}] = c
		} else {
			e.errors.add(c)
		}
	case entryMask:
		e.masks.add(c)
	case entryDrop:
		e.drops.add(c)
	case entryArgument:
		e.arguments[argumentKey{g.path[0], g.path[1], g.path[2]}] = c
	case entryInput:
		e.inputs[coordinate{g.path[0], g.path[1]}] = c
	case entryDeny:
		e.deny = c
	case entryAdhoc:
		e.adhoc = c
	case entryTier:
		e.tier = c
	case entryIntrospection:
		e.introspection = c
	}
}

func newLookup() lookup { return lookup{static: map[coordinate]*class{}} }

func (l *lookup) empty() bool { return len(l.static) == 0 && len(l.vars) == 0 }

func (l *lookup) add(c *class) {
	if c.group.vars {
		l.vars = append(l.vars, c)
		return
	}
	l.static[coordinate{c.group.path[0], c.group.path[1]}] = c
}
