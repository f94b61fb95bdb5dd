package schema

import (
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// View is a schema as introspection shows it to one reader. What is not in it
// cannot be told from what does not exist. Immutable; safe for concurrent use.
type View struct {
	schema *Schema
	// types are sorted by name and hold the specified ones too.
	types      []*ast.Definition
	shown      map[string]bool
	hidden     map[*ast.FieldDefinition]bool
	bare       map[string]bool // composite types with nothing to show
	directives []*ast.DirectiveDefinition
}

// View returns the schema without the fields of object types for which visible
// is false; a nil visible shows all. What follows from that:
//
//   - An interface has the fields that all its object types show, so that what
//     is shown is a valid schema. One without object types has none.
//   - Composite types left without fields or members are gone, with the fields of
//     that type, and from interfaces, unions and possible types. The query root
//     stays, since a schema must have one.
//   - Types that only what is gone led to are gone too: of arguments, in input
//     types, results.
//
// Directives that the schema applies without defining them are not shown.
func (s *Schema) View(visible func(object, field string) bool) *View {
	v := &View{schema: s, shown: map[string]bool{}, hidden: map[*ast.FieldDefinition]bool{}}
	if visible != nil {
		v.hide(visible)
	}
	v.bare = v.empty()
	v.collect()
	return v
}

// Known returns the schema as documents may name it that are told nothing of the
// fields of object types for which visible is false. It has more than View:
// fields that lead to types of which nothing is visible, and the fields of an
// interface that any of its object types has. Such a document can be answered.
func (s *Schema) Known(visible func(object, field string) bool) *View {
	v := &View{schema: s, shown: map[string]bool{}, hidden: map[*ast.FieldDefinition]bool{}}
	v.hideFields(visible)
	for _, def := range s.ast.Types {
		if def.Kind != ast.Interface {
			continue
		}
		for _, f := range def.Fields {
			if !v.someShows(def, f) {
				v.hidden[f] = true
			}
		}
	}
	v.bare = v.empty()
	for name := range v.bare {
		if def := s.ast.Types[name]; def.Kind == ast.Interface && len(v.possible(def)) > 0 {
			delete(v.bare, name)
		}
	}
	v.collect()
	return v
}

// someShows reports whether any object type of the interface shows f.
func (v *View) someShows(def *ast.Definition, f *ast.FieldDefinition) bool {
	for i := range v.schema.possible[def.Name].All {
		if own := v.schema.member(v.schema.objects[i], f.Name); own != nil && !v.hidden[own] {
			return true
		}
	}
	return false
}

// collect fills in what is shown, once it is known what is hidden and bare.
func (v *View) collect() {
	s := v.schema
	v.reach()
	for name := range v.shown {
		v.types = append(v.types, s.ast.Types[name])
	}
	slices.SortFunc(v.types, func(a, b *ast.Definition) int { return strings.Compare(a.Name, b.Name) })
	for _, d := range s.ast.Directives {
		if !assumed(d.Position) {
			v.directives = append(v.directives, d)
		}
	}
	slices.SortFunc(v.directives, func(a, b *ast.DirectiveDefinition) int { return strings.Compare(a.Name, b.Name) })
}

// Validate compiles a document for a reader who knows the view alone: what is not
// in it is refused as unknown, in the words, at the place and in the order of
// [Schema.Compile]. The errors are Compile's; nil: the document is valid.
func (v *View) Validate(document, operationName string, limits Limits) error {
	c := compilers.Get().(*compiler)
	defer c.release()
	c.view = v
	_, err := c.compile(v.schema, document, operationName, limits.orDefaults())
	return err
}

// hide finds the hidden fields: those that visible refuses, then, as long as
// there are any, those of types that have nothing left to show.
func (v *View) hide(visible func(object, field string) bool) {
	s := v.schema
	v.hideFields(visible)
	for again := true; again; {
		again = false
		empty := v.empty()
		delete(empty, s.ast.Query.Name)
		for _, def := range s.ast.Types {
			if def.Kind != ast.Object && def.Kind != ast.Interface || reserved(def.Name) {
				continue
			}
			for _, f := range def.Fields {
				if !v.hidden[f] && !reserved(f.Name) && (empty[f.Type.Name()] || def.Kind == ast.Interface && v.missing(def, f)) {
					v.hidden[f], again = true, true
				}
			}
		}
	}
}

// hideFields hides the fields of object types that visible refuses.
func (v *View) hideFields(visible func(object, field string) bool) {
	for _, def := range v.schema.objects {
		if reserved(def.Name) {
			continue
		}
		for _, f := range def.Fields {
			if !reserved(f.Name) && !visible(def.Name, f.Name) {
				v.hidden[f] = true
			}
		}
	}
}

// missing reports whether some object type of the interface does not show f.
func (v *View) missing(def *ast.Definition, f *ast.FieldDefinition) bool {
	possible := v.schema.possible[def.Name]
	for i := range possible.All {
		if own := v.schema.member(v.schema.objects[i], f.Name); own == nil || v.hidden[own] {
			return true
		}
	}
	return possible.Empty()
}

// empty returns the composite types with nothing to show.
func (v *View) empty() map[string]bool {
	out := map[string]bool{}
	for name, def := range v.schema.ast.Types {
		if (def.Kind == ast.Object || def.Kind == ast.Interface) && !slices.ContainsFunc(def.Fields, v.shows) {
			out[name] = true
		}
	}
	for name, def := range v.schema.ast.Types {
		if def.Kind == ast.Union && !slices.ContainsFunc(def.Types, func(member string) bool { return !out[member] }) {
			out[name] = true
		}
	}
	return out
}

// fields returns the fields of an object or interface type that are shown.
func (v *View) fields(def *ast.Definition) []*ast.FieldDefinition {
	out := make([]*ast.FieldDefinition, 0, len(def.Fields))
	for _, f := range def.Fields {
		if v.shows(f) {
			out = append(out, f)
		}
	}
	return out
}

func (v *View) shows(f *ast.FieldDefinition) bool { return !v.hidden[f] && !reserved(f.Name) }

// reach fills shown with what the roots lead to. What nothing leads to in the
// whole schema is shown all the same, if it has something to show.
func (v *View) reach() {
	s := v.schema
	v.reachRoots()
	whole := v
	if len(v.hidden) > 0 {
		whole = &View{schema: s, shown: map[string]bool{}}
		whole.bare = whole.empty()
		whole.reachRoots()
	}
	var apart []string
	for name, def := range s.ast.Types {
		if !whole.shown[name] && !assumed(def.Position) && !specifiedScalar(name) {
			apart = append(apart, name)
		}
	}
	for _, name := range apart {
		if !v.bare[name] {
			v.reachType(name)
		}
	}
}

func (v *View) reachRoots() {
	s := v.schema
	v.reachType(s.ast.Query.Name)
	for _, root := range []*ast.Definition{s.ast.Mutation, s.ast.Subscription} {
		if root != nil && !v.bare[root.Name] {
			v.reachType(root.Name)
		}
	}
	for name := range s.ast.Types {
		if reserved(name) {
			v.reachType(name)
		}
	}
	for _, d := range s.ast.Directives {
		if !assumed(d.Position) {
			v.reachArguments(d.Arguments)
		}
	}
}

// reachType shows a type and all that it leads to. It goes as deep as types
// refer to each other, without recursion.
func (v *View) reachType(name string) {
	pending := []string{name}
	for len(pending) > 0 {
		name, pending = pending[len(pending)-1], pending[:len(pending)-1]
		if v.shown[name] {
			continue
		}
		v.shown[name] = true
		pending = v.appendRefs(pending, v.schema.ast.Types[name])
	}
}

func (v *View) reachArguments(args ast.ArgumentDefinitionList) {
	for _, a := range args {
		v.reachType(a.Type.Name())
	}
}

// appendRefs appends the names of the types that def leads to.
func (v *View) appendRefs(dst []string, def *ast.Definition) []string {
	switch def.Kind {
	case ast.InputObject:
		for _, f := range def.Fields {
			dst = append(dst, f.Type.Name())
		}
	case ast.Object, ast.Interface:
		for _, f := range v.fields(def) {
			dst = append(dst, f.Type.Name())
			for _, a := range f.Arguments {
				dst = append(dst, a.Type.Name())
			}
		}
		for _, t := range v.interfaces(def) {
			dst = append(dst, t.Name)
		}
	}
	for _, t := range v.possible(def) {
		dst = append(dst, t.Name)
	}
	return dst
}

// interfaces returns those of an object or interface type that have something
// to show.
func (v *View) interfaces(def *ast.Definition) []*ast.Definition {
	var out []*ast.Definition
	for _, name := range def.Interfaces {
		if t := v.schema.ast.Types[name]; !v.bare[name] {
			out = append(out, t)
		}
	}
	return out
}

// possible returns the object types of an interface or union that have something
// to show.
func (v *View) possible(def *ast.Definition) []*ast.Definition {
	var out []*ast.Definition
	if def.Kind == ast.Union {
		for _, name := range def.Types { // in the schema's order
			if !v.bare[name] {
				out = append(out, v.schema.ast.Types[name])
			}
		}
	}
	if def.Kind != ast.Interface {
		return out
	}
	for i := range v.schema.possible[def.Name].All {
		if t := v.schema.objects[i]; !v.bare[t.Name] {
			out = append(out, t)
		}
	}
	return out
}

// reserved reports whether a name is introspection's own.
func reserved(name string) bool { return strings.HasPrefix(name, "__") }

func specifiedScalar(name string) bool {
	switch name {
	case "Int", "Float", "String", "Boolean", "ID":
		return true
	}
	return false
}
