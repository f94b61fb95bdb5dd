package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	gql "github.com/vektah/gqlparser/v2/ast"
)

// warnFilters warns where a query's arguments can filter or sort by what has
// the name of an output field with a rule of its own, and no rule says who
// may: whoever sorts by a secret reads it, bit by bit.
func (e *Engine) warnFilters(r *report) {
	ruled := map[string]coordinate{} // by name, folded
	for at, c := range e.allow.static {
		public := c.constant != nil && isTrue(c.constant)
		if known, ok := ruled[fold(at.field)]; at.field != star && at.typ != e.root() && !public && (!ok || at.String() < known.String()) {
			ruled[fold(at.field)] = at
		}
	}
	root := e.schema.Root(gql.Query)
	if len(ruled) == 0 || root == nil {
		return
	}
	found := map[string]string{}
	for _, f := range root.Fields {
		for _, a := range f.Arguments {
			at := coordinate{root.Name, f.Name}
			if e.arguments[argumentKey{at.typ, at.field, a.Name}] == nil {
				e.sortable(a.Type, at.String()+"."+a.Name, ruled, found)
			}
			for _, in := range e.schema.InputReach(a.Type) {
				inner := coordinate{in.Object.Name, in.Field.Name}
				if e.inputs[inner] != nil {
					continue
				}
				if secret, ok := ruled[fold(inner.field)]; ok {
					found[inner.String()] = fmt.Sprintf("the input field %s has the name of %s, which has a rule, but no allow_input rule: filtering by it reads it", inner, secret)
				}
				e.sortable(in.Field.Type, inner.String(), ruled, found)
			}
		}
	}
	for _, at := range slices.Sorted(maps.Keys(found)) {
		r.warnings = append(r.warnings, Problem{Message: found[at]})
	}
}

// sortable notes the enum values that name a ruled field.
func (e *Engine) sortable(t *gql.Type, where string, ruled map[string]coordinate, found map[string]string) {
	def := e.schema.AST().Types[t.Name()]
	if def == nil || def.Kind != gql.Enum {
		return
	}
	for _, v := range def.EnumValues {
		name := fold(v.Name)
		for _, suffix := range []string{"", "asc", "desc"} {
			secret, ok := ruled[strings.TrimSuffix(name, suffix)]
			if ok {
				found[where+"="+v.Name] = fmt.Sprintf("%s can be %s, the name of %s, which has a rule; no rule says who may: sorting by it reads it", where, v.Name, secret)
			}
		}
	}
}

func (e *Engine) root() string {
	if def := e.schema.Root(gql.Query); def != nil {
		return def.Name
	}
	return ""
}

// fold makes costPrice and COST_PRICE one name.
func fold(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }
