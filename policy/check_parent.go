package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	gql "github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/schema"
)

// fieldTree is a set of fields of an object, by name; nil below leaves.
type fieldTree map[string]fieldTree

func (t fieldTree) names() []string {
	var out []string
	for name := range t {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// parentChecker follows what rules read of the resolved object through the
// schema: every read must end at a leaf that the upstream can be asked for.
type parentChecker struct {
	schema    *schema.Schema
	arguments *argumentChecker
	acceptNon bool
}

// checkParents finds the object types that each class of classObject governs
// and what must be asked for on each.
func (e *Engine) checkParents(o *Options, arguments *argumentChecker) {
	k := parentChecker{schema: e.schema, arguments: arguments, acceptNon: o.ParentNonNull == "accept"}
	for _, c := range e.classes {
		if c.kind == classObject && c.group.kind == entryAllow {
			k.check(c, e.governed(c))
		}
	}
	for _, c := range e.classes {
		k.hidden(c)
	}
}

// governed lists the object types of which a class governs some field.
func (e *Engine) governed(c *class) []*gql.Definition {
	var out []*gql.Definition
	for _, def := range e.schema.Objects() {
		if strings.HasPrefix(def.Name, "__") {
			continue
		}
		governs := func(f *gql.FieldDefinition) bool {
			if strings.HasPrefix(f.Name, "__") {
				return false
			}
			for _, lv := range e.allow.levels(def.Name, f.Name) {
				for other := range lv.classes {
					if other == c {
						return true
					}
				}
			}
			return false
		}
		if slices.ContainsFunc(def.Fields, governs) {
			out = append(out, def)
		}
	}
	return out
}

// hidden refuses rules that reach input.parent in ways that cannot be seen,
// such as object.get(input, ["parent", …], …): it would never be there.
func (k *parentChecker) hidden(c *class) {
	for _, rd := range c.reads.reads {
		if len(rd.path) > 0 || !namesParent(rd.rule) {
			continue
		}
		k.arguments.problem(c, rd, `reads all of input and names "parent"; write input.parent.field, so that it is known what to ask for`)
	}
}

func namesParent(rule *ast.Rule) bool {
	found := false
	ast.WalkTerms(rule, func(t *ast.Term) bool {
		if ref, ok := t.Value.(ast.Ref); ok && ref.HasPrefix(ast.InputRootRef) {
			return true
		}
		s, ok := t.Value.(ast.String)
		found = found || ok && s == "parent"
		return found
	})
	return found
}

func (k *parentChecker) check(c *class, types []*gql.Definition) {
	c.parents = map[string][]ParentField{}
	reported := map[string]bool{}
	for _, rd := range c.reads.parent {
		first, wrong := "", 0
		for _, def := range types {
			if why := k.follow(c, rd, def); why != "" {
				if wrong++; first == "" {
					first = why
				}
			}
		}
		if rd.derived() && reported[first] {
			continue // of what a variable stands for that is wrong already
		}
		reported[first] = true
		switch {
		case wrong == 1:
			k.arguments.problem(c, rd, "reads %s: %s", spell(rd.ref), first)
		case wrong > 1:
			k.arguments.problem(c, rd, "reads %s: %s; %d more types that it governs lack it too", spell(rd.ref), first, wrong-1)
		}
	}
	for _, def := range types {
		tree := fieldTree{}
		for _, rd := range c.reads.parent {
			tree.add(k.names(def, rd.ref[2:]))
		}
		c.parents[def.Name] = k.fields(def, tree)
	}
}

// spell prints a reference as its author may have written it: OPA's own
// variables are wildcards.
func spell(ref ast.Ref) string {
	out := slices.Clone(ref)
	for i, t := range out {
		if v, ok := t.Value.(ast.Var); i > 0 && ok && v.IsGenerated() {
			out[i] = ast.VarTerm("_")
		}
	}
	return out.String()
}

// add puts a path into the tree.
func (t fieldTree) add(path []string) {
	for _, name := range path {
		if t[name] == nil {
			t[name] = fieldTree{}
		}
		t = t[name]
	}
}

// follow says what is wrong with a read on an object type; empty for nothing.
func (k *parentChecker) follow(c *class, rd read, def *gql.Definition) string {
	for _, kind := range []gql.Operation{gql.Query, gql.Mutation, gql.Subscription} {
		if root := k.schema.Root(kind); root != nil && root.Name == def.Name {
			return def.Name + " is a root type; its fields have no parent object"
		}
	}
	rest := rd.ref[2:]
	switch {
	case len(rest) > 0:
	case rd.use == usedBound || rd.use == usedThere:
		return ""
	default:
		return "it must name the fields that it needs"
	}
	return k.step(c, rd, def, rest, true)
}

// step follows a reference from an object, interface or union.
func (k *parentChecker) step(c *class, rd read, def *gql.Definition, rest ast.Ref, top bool) string {
	key, ok := rest[0].Value.(ast.String)
	if !ok {
		return fmt.Sprintf("it must name the field of %s", def.Name)
	}
	name := string(key)
	possible := []*gql.Definition{def}
	if def.Kind != gql.Object {
		possible = k.objects(def)
	}
	if len(possible) == 0 {
		return fmt.Sprintf("%s has no possible types", def.Name)
	}
	for _, typ := range possible {
		f := typ.Fields.ForName(name)
		switch {
		case f == nil || strings.HasPrefix(f.Name, "__"):
			return fmt.Sprintf("type %s has no field %q%s", typ.Name, name, didYouMean(name, fieldNames(typ)))
		case len(f.Arguments) > 0:
			return fmt.Sprintf("%s.%s takes arguments, so it cannot be asked for", typ.Name, name)
		case top && f.Type.NonNull && !k.acceptNon:
			return fmt.Sprintf("%s.%s is %s: asked for on behalf of the rule, its failure would make the whole %s null; policy.parent_non_null: accept allows it", typ.Name, name, f.Type, typ.Name)
		}
		if why := k.value(c, rd, f.Type, rest[1:], fmt.Sprintf("%s.%s", typ.Name, name)); why != "" {
			return why
		}
	}
	return ""
}

// value follows a reference into the value of a field; what is behind a list
// is one index first, as long as there is one.
func (k *parentChecker) value(c *class, rd read, t *gql.Type, rest ast.Ref, at string) string {
	for ; t.Elem != nil && len(rest) > 0; t, rest = t.Elem, rest[1:] {
		if _, name := rest[0].Value.(ast.String); name {
			return fmt.Sprintf("%s is a list, %s; write [_] first", at, t)
		}
	}
	def := k.schema.Type(t.Name())
	switch {
	case def == nil:
		return at + " has an unknown type"
	case def.Kind == gql.Scalar || def.Kind == gql.Enum:
		if len(rest) > 0 && (def.Kind == gql.Enum || builtinScalar(def.Name)) {
			return fmt.Sprintf("%s is %s, which has no fields", at, t)
		}
		if len(rest) == 0 && t.Elem == nil && !rd.derived() {
			k.arguments.compare(c, rd, t)
		}
		return ""
	case len(rest) == 0 && (rd.use == usedBound || rd.use == usedThere || rd.use == usedCounted && t.Elem != nil):
		return ""
	case len(rest) == 0:
		return fmt.Sprintf("%s is %s, an object; it must name the fields that it needs", at, t)
	}
	return k.step(c, rd, def, rest, false)
}

// objects lists the possible types of an interface or union by name.
func (k *parentChecker) objects(def *gql.Definition) []*gql.Definition {
	var out []*gql.Definition
	possible := k.schema.Possible(def.Name)
	for i, typ := range k.schema.Objects() {
		if possible.Has(i) {
			out = append(out, typ)
		}
	}
	return out
}

// names lists the fields of a reference as far as the schema has them. What
// is below a custom scalar is its value.
func (k *parentChecker) names(def *gql.Definition, ref ast.Ref) []string {
	var out []string
	for len(ref) > 0 && def != nil {
		name, ok := ref[0].Value.(ast.String)
		if !ok {
			return out
		}
		f := k.anyField(def, string(name))
		if f == nil {
			return out
		}
		out, ref = append(out, f.Name), ref[1:]
		for t := f.Type; t.Elem != nil && len(ref) > 0; t = t.Elem {
			ref = ref[1:]
		}
		def = k.schema.Type(f.Type.Name())
	}
	return out
}

func (k *parentChecker) anyField(def *gql.Definition, name string) *gql.FieldDefinition {
	if def.Kind != gql.Interface && def.Kind != gql.Union {
		return def.Fields.ForName(name)
	}
	for _, typ := range k.objects(def) {
		if f := typ.Fields.ForName(name); f != nil {
			return f
		}
	}
	return nil
}

// fields resolves a tree on an object type.
func (k *parentChecker) fields(def *gql.Definition, tree fieldTree) []ParentField {
	var out []ParentField
	for _, name := range tree.names() {
		f := def.Fields.ForName(name)
		if f == nil {
			continue // reported
		}
		field := ParentField{Definition: f}
		if of := k.schema.Type(f.Type.Name()); of != nil && of.IsCompositeType() {
			for _, typ := range k.possible(of) {
				field.Fields = append(field.Fields, ParentFields{typ, k.fields(typ, tree[name])})
			}
		}
		out = append(out, field)
	}
	return out
}

func (k *parentChecker) possible(def *gql.Definition) []*gql.Definition {
	if def.Kind == gql.Object {
		return []*gql.Definition{def}
	}
	return k.objects(def)
}

// read notes what the verdict's classes of classObject read of a type.
func (v *verdict) read(def *gql.Definition, objects []*class) {
	if len(objects) == 0 || slices.ContainsFunc(v.parents, func(p ParentFields) bool { return p.Type == def }) {
		return
	}
	all := ParentFields{Type: def}
	for _, c := range objects {
		all.Fields = mergeFields(all.Fields, c.parents[def.Name])
	}
	v.parents = append(v.parents, all)
}

// mergeFields joins two lists of fields of the same type.
func mergeFields(a, b []ParentField) []ParentField {
	out := slices.Clone(a)
	for _, f := range b {
		i := slices.IndexFunc(out, func(g ParentField) bool { return g.Definition == f.Definition })
		if i < 0 {
			out = append(out, f)
			continue
		}
		out[i].Fields = mergeTypes(out[i].Fields, f.Fields)
	}
	slices.SortFunc(out, func(a, b ParentField) int { return strings.Compare(a.Definition.Name, b.Definition.Name) })
	return out
}

func mergeTypes(a, b []ParentFields) []ParentFields {
	out := slices.Clone(a)
	for _, t := range b {
		i := slices.IndexFunc(out, func(u ParentFields) bool { return u.Type == t.Type })
		if i < 0 {
			out = append(out, t)
			continue
		}
		out[i].Fields = mergeFields(out[i].Fields, t.Fields)
	}
	return out
}
