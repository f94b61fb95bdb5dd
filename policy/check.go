package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	gql "github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/rego"
)

// checkModules refuses what no runtime rule may use, wherever it stands.
func checkModules(modules map[string]*ast.Module, r *report) {
	for _, m := range modules {
		improved := m.RegoVersionSpan().Min() == ast.RegoV2
		for _, imp := range m.Imports {
			improved = improved || imp.Path.String() == "rego.v2" || imp.Path.String() == "future.keywords.not"
		}
		for _, rule := range m.Rules {
			ast.WalkExprs(rule, func(expr *ast.Expr) bool {
				for _, w := range expr.With {
					r.add(w.Location, "`with` replaces what the firewall vouches for; it is for tests only")
				}
				if expr.Negated && !improved {
					checkNegation(expr, r)
				}
				return false
			})
			ast.WalkTerms(rule, func(t *ast.Term) bool {
				if ref, ok := t.Value.(ast.Ref); ok && len(ref) > 1 {
					if name := ref.String(); forbidden(name) {
						r.add(t.Location, "%s is forbidden in policies: rules decide from input and data alone", name)
					}
				}
				return false
			})
		}
	}
}

// alwaysThere lists the input paths that are never absent.
var alwaysThere = []string{
	"", "subject", "subject.authenticated", "subject.roles", "subject.scopes", "subject.claims", "subject.client",
	"request", "request.headers", "operation", "operation.kind", "operation.hash", "operation.registered",
	"operation.cost", "operation.depth", "args",
}

// checkNegation refuses a negated expression that reads what may be absent in
// a module without import rego.v2: there the whole rule, and not the negated
// expression, would be undefined.
func checkNegation(expr *ast.Expr, r *report) {
	ast.WalkRefs(expr, func(ref ast.Ref) bool {
		if ref[0].Value.Compare(ast.InputRootDocument.Value) != 0 {
			return false
		}
		path, _ := groundPath(ref)
		if !slices.Contains(alwaysThere, strings.Join(path, ".")) {
			r.add(expr.Location, "`not` reads %s, which may be absent; without `import rego.v2` the negation may then not hold", ref)
		}
		return false
	})
}

// readable lists what each kind of entry point may read of input, as path
// prefixes.
var readable = map[entryKind][]string{
	entryTier:          {"subject", "request"},
	entryAdhoc:         {"subject", "request", "operation.kind", "operation.name", "operation.hash"},
	entryDeny:          {"subject", "request", "operation"},
	entryIntrospection: {"subject", "request", "operation"},
	entryAllow:         {"subject", "request", "operation", "args"},
	entryError:         {"subject", "request", "operation", "args"},
	entryArgument:      {"subject", "request", "operation", "args", "value"},
	entryInput:         {"subject", "request", "operation", "args", "value"},
	entryMask:          {"subject", "request", "operation", "args"},
	entryDrop:          {"subject", "request", "operation", "args"},
}

// readChecker holds what classes read against what there is when they are asked.
type readChecker struct {
	report  *report
	headers []string // allow-listed, lower case; nil: any
}

func (k *readChecker) check(c *class) {
	allowed := readable[c.group.kind]
	for _, rd := range c.reads.reads {
		path := strings.Join(rd.path, ".")
		loc := rd.loc
		if loc == nil {
			loc = c.group.loc()
		}
		bad := func(format string, args ...any) {
			k.report.add(loc, "%s %s%s", c.group.head, fmt.Sprintf(format, args...), through(c, rd))
		}
		switch {
		case path == "":
			if c.group.kind == entryTier || c.group.kind == entryAdhoc {
				bad("reads all of input; it may read %s only", inputNames(allowed))
			}
		case rd.path[0] == "parent":
			if c.group.kind != entryAllow {
				bad("reads input.%s, the resolved object; only allow rules are decided on the answer", path)
			}
		case !slices.ContainsFunc(allowed, func(p string) bool { return path == p || strings.HasPrefix(path, p+".") }):
			if wholeInput.has(rd.path[0]) {
				bad("reads input.%s; it may read %s only", path, inputNames(allowed))
			}
		case len(rd.path) >= 3 && path == "request.headers."+rd.path[2]:
			k.header(rd.path[2], bad)
		}
	}
}

// has reports whether the shape has a member of that name.
func (s *shape) has(name string) bool {
	return slices.ContainsFunc(s.kids, func(kid shape) bool { return kid.name == name })
}

func (k *readChecker) header(name string, bad func(string, ...any)) {
	switch {
	case name != strings.ToLower(name):
		bad("reads the header %q; names are in lower case", name)
	case k.headers != nil && !slices.Contains(k.headers, name):
		bad("reads the header %q, which policy.headers does not list%s", name, didYouMean(name, k.headers))
	}
}

func inputNames(paths []string) string {
	out := make([]string, len(paths))
	for i, p := range paths {
		out[i] = "input." + p
	}
	return strings.Join(out, ", ")
}

// through names the helper that reads a path on behalf of an entry point.
func through(c *class, rd read) string {
	name := string(rd.rule.Head.Name)
	if name == c.group.name {
		return ""
	}
	return " (through " + rd.rule.Head.Ref().String() + ")"
}

// inputSchemas is what OPA's type checker knows about input.
func inputSchemas() (*ast.SchemaSet, error) {
	var doc any
	if err := json.Unmarshal(rego.InputSchema, &doc); err != nil {
		return nil, fmt.Errorf("policy: input.schema.json: %w", err)
	}
	set := ast.NewSchemaSet()
	set.Put(ast.SchemaRootRef, doc)
	return set, nil
}

// checkValues refuses constants that an entry point cannot mean.
func checkValues(kind entryKind, rule *ast.Rule, tiers []string, r *report) {
	for ; rule != nil; rule = rule.Else {
		v, loc := rule.Head.Value, rule.Head.Location
		if kind == entryDeny {
			v = rule.Head.Key
		}
		if v == nil {
			continue
		}
		if v.Location != nil {
			loc = v.Location
		}
		ref := rule.Head.Ref()
		switch kind {
		case entryDeny, entryError:
			checkRefusal(ref, v, loc, r)
		case entryTier:
			if s, ok := v.Value.(ast.String); ok && tiers != nil && !slices.Contains(tiers, string(s)) {
				r.add(loc, "%s: the config has no tier %s%s", ref, v, oneOf(string(s), tiers))
			} else if !ok && ast.IsConstant(v.Value) {
				r.add(loc, "%s is %s; a tier is a string", ref, v)
			}
		case entryIntrospection:
			checkIntrospection(v, loc, r)
		case entryMask: // checkAnswers knows the field
		case entryDrop:
			if _, ok := v.Value.(ast.Boolean); !ok && ast.IsConstant(v.Value) {
				r.add(loc, "%s is %s; only true drops", ref, v)
			}
		default:
			if _, ok := v.Value.(ast.Boolean); !ok && ast.IsConstant(v.Value) {
				r.add(loc, "%s is %s; only true allows", ref, v)
			}
		}
	}
}

func checkIntrospection(v *ast.Term, loc *ast.Location, r *report) {
	if !ast.IsConstant(v.Value) {
		return
	}
	s, _ := v.Value.(ast.String)
	_, isBool := v.Value.(ast.Boolean)
	if s != IntrospectionVisible && s != IntrospectionAll && !isBool {
		r.add(loc, `introspection is %s; it may be true, false, "all" or "visible"`, v)
	}
}

// checkRefusal checks the value of an error rule or an element of deny.
func checkRefusal(ref ast.Ref, v *ast.Term, loc *ast.Location, r *report) {
	o, ok := v.Value.(ast.Object)
	if !ok {
		if _, isString := v.Value.(ast.String); !isString && ast.IsConstant(v.Value) {
			r.add(loc, `%s is %s; write {"code": "…", "message": "…"}`, ref, v)
		}
		return
	}
	o.Foreach(func(k, member *ast.Term) {
		name, _ := k.Value.(ast.String)
		s, isString := member.Value.(ast.String)
		switch {
		case name != "code" && name != "message":
			r.add(loc, `%s has a member %s; it may have "code" and "message"`, ref, k)
		case !isString && ast.IsConstant(member.Value):
			r.add(loc, "%s: %s is %s; it must be a string", ref, name, member)
		case name == "code" && isString && s == "":
			r.add(loc, "%s: the code is empty", ref)
		case name == "code" && reservedCodes[string(s)]:
			r.add(loc, "%s: the code %s is graphward's own (its meaning is in the table of refusals); choose another", ref, member)
		}
	})
}

// checkShadows reports definitions that others make pointless.
func checkShadows(c *collector) {
	for _, g := range c.order {
		if g.kind == entryDeny || g.vars || len(g.rules) < 2 {
			continue
		}
		always := slices.IndexFunc(g.rules, unconditional)
		if always < 0 {
			continue
		}
		first := g.rules[always]
		for i, rule := range g.rules {
			if i != always && !rule.Default {
				c.report.add(rule.Head.Location, "%s is decided always by the definition at %s:%d, so this one is shadowed", g.head, first.Location.File, first.Location.Row)
			}
		}
	}
	for _, g := range c.order {
		if g.kind != entryAllow || g.vars || g.path[1] != star || g.path[0] == star {
			continue
		}
		def := c.schema.Types[g.path[0]]
		if def != nil && def.Kind == gql.Object && !slices.ContainsFunc(def.Fields, func(f *gql.FieldDefinition) bool {
			return c.groups[headOf(g.path[0], f.Name)] == nil
		}) {
			c.report.warn(g.loc(), "%s is never asked: every field of %s has a rule of its own", g.head, g.path[0])
		}
	}
}

// unconditional reports whether a definition has no body but true.
func unconditional(rule *ast.Rule) bool {
	return !rule.Default && rule.Else == nil && len(rule.Body) == 1 && rule.Body[0].Terms != nil &&
		rule.Body.Equal(ast.NewBody(ast.NewExpr(ast.BooleanTerm(true)))) && rule.Head.Value != nil && ast.IsConstant(rule.Head.Value.Value)
}

// headOf spells the head of a coordinate's allow rule as OPA does.
func headOf(path ...string) string {
	ref := ast.Ref{ast.VarTerm("allow")}
	for _, p := range path {
		ref = append(ref, ast.StringTerm(p))
	}
	return ref.String()
}
