package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	gql "github.com/vektah/gqlparser/v2/ast"
)

// entryKind is a rule name that the firewall asks for.
type entryKind uint8

const (
	entryNone entryKind = iota
	entryAllow
	entryArgument
	entryInput
	entryError
	entryDeny
	entryAdhoc
	entryTier
	entryIntrospection
	entryMask
	entryDrop
)

var entryKinds = map[string]entryKind{
	"allow": entryAllow, "allow_argument": entryArgument, "allow_input": entryInput, "error": entryError,
	"deny": entryDeny, "adhoc": entryAdhoc, "tier": entryTier, "introspection": entryIntrospection,
	"mask": entryMask, "drop": entryDrop,
}

// entryForm says how the heads of a kind are written; the message of a wrong one.
var entryForm = map[entryKind]string{
	entryAllow:         `allow.Type.field, allow.Type["*"] or allow["*"]["*"]`,
	entryError:         `error.Type.field, error.Type["*"] or error["*"]["*"]`,
	entryArgument:      `allow_argument.Type.field.argument`,
	entryInput:         `allow_input.InputType.field`,
	entryDeny:          `deny contains {"code": …, "message": …} if …`,
	entryAdhoc:         `adhoc if …`,
	entryTier:          `tier := "name" if …`,
	entryIntrospection: `introspection if …`,
	entryMask:          `mask.Type.field, mask.Type["*"] or mask["*"]["*"]`,
	entryDrop:          `drop.Type.field, drop.Type["*"] or drop["*"]["*"]`,
}

const packageName = "graphward"

// entryRule is one definition of an entry point. Path has the coordinate's
// segments after the kind; a nil segment is a variable.
type entryRule struct {
	kind   entryKind
	path   []*string
	rule   *ast.Rule
	module string
}

// static reports whether no segment is a variable.
func (e *entryRule) static() bool { return !slices.Contains(e.path, nil) }

// head is the rule head as its author would write it.
func (e *entryRule) head() string { return e.rule.Head.Ref().String() }

// group is all definitions of one head: what OPA evaluates as one document.
type group struct {
	kind  entryKind
	head  string   // as written: allow.User["*"]
	name  string   // under which OPA knows it: data.graphward[name]
	text  string   // the definitions without their head: equal texts have equal values
	path  []string // the coordinate; empty for kinds without one
	rules []*ast.Rule
	// vars marks a head with variables; match then says which coordinates it
	// can add to (nil segments match all).
	vars  bool
	match []*string
}

func (g *group) loc() *ast.Location { return g.rules[0].Head.Location }

// collector finds the entry points among the modules' rules.
type collector struct {
	schema *gql.Schema
	tiers  []string
	groups map[string]*group // by head
	order  []*group
	report *report
	// malformed says that the rule just added cannot be an entry point; it is
	// kept from OPA, which would report what follows from that.
	malformed bool
}

func (c *collector) collect(modules map[string]*ast.Module) {
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		m := modules[name]
		pkg := packagePath(m)
		for _, rule := range m.Rules {
			c.checkEvery(rule)
		}
		if len(pkg) > 1 && pkg[0] == packageName && !c.checkSubpackage(m, pkg[1]) {
			delete(modules, name)
		}
		if len(pkg) != 1 || pkg[0] != packageName {
			continue
		}
		m.Rules = slices.DeleteFunc(m.Rules, func(rule *ast.Rule) bool {
			before := len(c.report.problems)
			c.add(name, rule)
			return len(c.report.problems) > before && c.malformed
		})
	}
}

func (c *collector) checkSubpackage(m *ast.Module, second string) bool {
	switch {
	case entryKinds[second] != entryNone:
		c.report.add(m.Package.Location, "package graphward.%s: write these rules in package graphward, as %s.…", second, second)
	case second == "lib" && !strings.HasPrefix(m.Package.Location.File, libraryPrefix):
		c.report.add(m.Package.Location, "package graphward.lib is graphward's own library; choose another name")
	default:
		return true
	}
	return false
}

// packagePath returns the package's path without `data`.
func packagePath(m *ast.Module) []string {
	var out []string
	for _, t := range m.Package.Path[1:] {
		if s, ok := t.Value.(ast.String); ok {
			out = append(out, string(s))
		}
	}
	return out
}

func (c *collector) add(module string, rule *ast.Rule) {
	ref := rule.Head.Ref()
	name := string(ref[0].Value.(ast.Var))
	kind := entryKinds[name]
	c.malformed = true
	if kind == entryNone {
		c.checkTypo(rule, name)
		return
	}
	e := &entryRule{kind: kind, rule: rule, module: module}
	for _, t := range ref[1:] {
		if s, ok := t.Value.(ast.String); ok {
			segment := string(s)
			e.path = append(e.path, &segment)
		} else {
			e.path = append(e.path, nil)
		}
	}
	if !c.wellFormed(e) {
		return
	}
	c.malformed = false
	checkValues(kind, rule, c.tiers, c.report)
	if e.static() {
		c.addStatic(e)
		return
	}
	g := &group{
		kind: kind, head: e.head(), rules: []*ast.Rule{rule}, vars: true, match: e.path,
	}
	c.order = append(c.order, g)
}

func (c *collector) addStatic(e *entryRule) {
	head := e.head()
	g := c.groups[head]
	if g == nil {
		g = &group{kind: e.kind, head: head}
		for _, s := range e.path {
			g.path = append(g.path, *s)
		}
		c.groups[head] = g
		c.order = append(c.order, g)
		c.checkCoordinate(g, e.rule.Head.Location)
	}
	g.rules = append(g.rules, e.rule)
}

// checkTypo refuses heads that look like a misspelt entry point, since one
// that is not seen does not restrict anything.
func (c *collector) checkTypo(rule *ast.Rule, name string) {
	if len(rule.Head.Ref()) < 3 {
		return
	}
	for _, entry := range slices.Sorted(maps.Keys(entryKinds)) {
		if d := distance(name, entry, 2); d > 0 && d <= max(1, len(entry)/5) {
			c.report.add(rule.Head.Location, "%s is not asked by graphward; did you mean %q?", rule.Head.Ref(), entry)
			return
		}
	}
}

// wellFormed checks the shape of a head, apart from the schema.
func (c *collector) wellFormed(e *entryRule) bool {
	want := map[entryKind]int{entryAllow: 2, entryError: 2, entryInput: 2, entryArgument: 3, entryMask: 2, entryDrop: 2}[e.kind]
	head, loc := e.rule.Head, e.rule.Head.Location
	bad := func(why string) bool {
		c.report.add(loc, "%s: %s; write %s", head.Ref(), why, entryForm[e.kind])
		return false
	}
	contains := head.RuleKind() == ast.MultiValue
	switch {
	case len(head.Args) > 0:
		return bad("an entry point cannot be a function")
	case e.kind == entryDeny && !contains:
		return bad("deny is a set")
	case e.kind != entryDeny && contains:
		return bad("an entry point has one value, not a set")
	case len(e.path) != want && e.rule.Default && len(e.path) == 0 && want > 0:
		return bad("without a rule a field is denied already, so it needs no default")
	case len(e.path) < want:
		return bad("the coordinate is incomplete")
	case len(e.path) > want && !(e.kind == entryError && len(e.path) == 3):
		return bad("the coordinate has too many parts")
	case !e.static() && (e.kind == entryArgument || e.kind == entryInput):
		return bad("what has no rule here is allowed, so the head must name the coordinate")
	case !e.static() && e.kind == entryError && len(e.path) != 2:
		return bad("the coordinate has too many parts")
	}
	return true
}

// checkCoordinate holds a static head against the schema.
func (c *collector) checkCoordinate(g *group, loc *ast.Location) {
	switch g.kind {
	case entryAllow, entryError, entryMask, entryDrop:
		if g.kind == entryError {
			if d := c.schema.Types[g.path[0]]; d != nil && d.Kind == gql.InputObject && len(g.path) == 2 {
				c.checkInputField(g, loc)
				return
			}
		}
		c.checkField(g, loc)
	case entryArgument:
		c.checkField(g, loc)
	case entryInput:
		c.checkInputField(g, loc)
	}
}

const star = "*"

func (c *collector) checkField(g *group, loc *ast.Location) {
	typ, field := g.path[0], g.path[1]
	wildcards := len(g.path) == 2 // an argument has none
	if typ == star {
		if !wildcards || field != star {
			c.report.add(loc, "%s: a wildcard type can only stand before a wildcard field; write %s", g.head, entryForm[g.kind])
		}
		return
	}
	def := c.objectType(g, typ, loc)
	if def == nil || wildcards && field == star {
		return
	}
	fd := def.Fields.ForName(field)
	if fd == nil || strings.HasPrefix(field, "__") {
		c.report.add(loc, "%s: type %s has no field %q%s", g.head, typ, field, didYouMean(field, fieldNames(def)))
		return
	}
	if len(g.path) == 3 && fd.Arguments.ForName(g.path[2]) == nil {
		var names []string
		for _, a := range fd.Arguments {
			names = append(names, a.Name)
		}
		c.report.add(loc, "%s: field %s.%s has no argument %q%s", g.head, typ, field, g.path[2], didYouMean(g.path[2], names))
	}
}

// objectType resolves the type of a field coordinate, or reports why it is none.
func (c *collector) objectType(g *group, typ string, loc *ast.Location) *gql.Definition {
	def := c.schema.Types[typ]
	switch {
	case def == nil || strings.HasPrefix(typ, "__"):
		c.report.add(loc, "%s: the schema has no type %q%s", g.head, typ, didYouMean(typ, c.typeNames(gql.Object)))
	case def.Kind == gql.Object:
		return def
	case def.Kind == gql.Interface || def.Kind == gql.Union:
		var names []string
		for _, p := range c.schema.GetPossibleTypes(def) {
			names = append(names, p.Name)
		}
		slices.Sort(names)
		c.report.add(loc, "%s: %s is %s; a rule names an object type: %s", g.head, typ, kindName(def.Kind), strings.Join(names, ", "))
	default:
		c.report.add(loc, "%s: %s is %s; a rule names an object type%s", g.head, typ, kindName(def.Kind), didYouMean(typ, c.typeNames(gql.Object)))
	}
	return nil
}

func (c *collector) checkInputField(g *group, loc *ast.Location) {
	typ, field := g.path[0], g.path[1]
	def := c.schema.Types[typ]
	switch {
	case def == nil:
		c.report.add(loc, "%s: the schema has no input type %q%s", g.head, typ, didYouMean(typ, c.typeNames(gql.InputObject)))
	case def.Kind != gql.InputObject:
		c.report.add(loc, "%s: %s is %s, not an input type", g.head, typ, kindName(def.Kind))
	case def.Fields.ForName(field) == nil:
		c.report.add(loc, "%s: input type %s has no field %q%s", g.head, typ, field, didYouMean(field, fieldNames(def)))
	}
}

func (c *collector) typeNames(kind gql.DefinitionKind) []string {
	var names []string
	for name, d := range c.schema.Types {
		if d.Kind == kind && !strings.HasPrefix(name, "__") {
			names = append(names, name)
		}
	}
	return names
}

func fieldNames(d *gql.Definition) []string {
	var names []string
	for _, f := range d.Fields {
		if !strings.HasPrefix(f.Name, "__") {
			names = append(names, f.Name)
		}
	}
	return names
}

func kindName(k gql.DefinitionKind) string {
	switch k {
	case gql.Interface:
		return "an interface"
	case gql.Union:
		return "a union"
	case gql.InputObject:
		return "an input type"
	case gql.Enum:
		return "an enum"
	case gql.Object:
		return "an object type"
	}
	return "a scalar"
}
