package schema

import (
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
)

// Edit describes changes to an operation's document. The zero Edit changes
// nothing. Its nodes are those of the operation that is edited.
type Edit struct {
	// Cut leaves selections out, with all below them.
	Cut map[*ast.Field]bool
	// Beside are selections to put at the front of the selection set in which
	// the field stands: what @skip and @include enclose the field enclose them.
	Beside map[*ast.Field]ast.SelectionSet
	// Typename are the fields at the front of whose own selection set __typename
	// is put, under Key.
	Typename map[*ast.Field]bool
	// Key is the response key of every __typename that is added: to the fields
	// of Typename, and to a selection set that Cut leaves empty.
	Key string
}

// Edited returns the operation's document with the changes made, in canonical
// form. Inline fragments and fragments that Cut leaves empty go, with their
// spreads, and so do the fragments and variables that nothing uses any more. It
// returns "" where no selection of the root is left.
//
// What is put in is not validated: compile the result. The operation is left
// alone. The cost is linear in the document.
func (op *Operation) Edited(e *Edit) string {
	d := editor{edit: e, fragments: make(map[string]*editedFragment, len(op.Fragments))}
	for _, f := range op.Fragments {
		d.fragments[f.Name] = &editedFragment{from: f}
	}
	def := *op.Definition
	def.SelectionSet = d.set(def.SelectionSet)
	if len(def.SelectionSet) == 0 {
		return ""
	}
	reached := d.reached(&def)
	def.VariableDefinitions = slices.DeleteFunc(slices.Clone(def.VariableDefinitions), func(v *ast.VariableDefinition) bool {
		return !d.variables[v.Variable]
	})
	p := printer{out: make([]byte, 0, len(op.Text)+256)}
	p.document(&def, reached)
	return string(p.out)
}

type editor struct {
	edit      *Edit
	fragments map[string]*editedFragment
	variables map[string]bool
}

type editedFragment struct {
	from    *ast.FragmentDefinition
	to      *ast.FragmentDefinition // nil until done
	reached bool
}

// set returns a selection set edited; empty where nothing is left of it.
func (d *editor) set(set ast.SelectionSet) ast.SelectionSet {
	var front, rest ast.SelectionSet
	for _, sel := range set {
		switch sel := sel.(type) {
		case *ast.Field:
			front = d.beside(front, d.edit.Beside[sel])
			if !d.edit.Cut[sel] {
				rest = append(rest, d.field(sel))
			}
		case *ast.InlineFragment:
			if inner := d.set(sel.SelectionSet); len(inner) > 0 {
				edited := *sel
				edited.SelectionSet = inner
				rest = append(rest, &edited)
			}
		case *ast.FragmentSpread:
			if f := d.fragment(sel.Name); f != nil && len(f.SelectionSet) > 0 {
				rest = append(rest, sel)
			}
		}
	}
	if len(front) == 0 {
		return rest
	}
	return append(front, rest...)
}

// beside appends selections to those that the set already has at its front, each
// once.
func (d *editor) beside(front, add ast.SelectionSet) ast.SelectionSet {
	for _, sel := range add {
		if !slices.ContainsFunc(front, func(there ast.Selection) bool { return printed(there) == printed(sel) }) {
			front = append(front, sel)
		}
	}
	return front
}

func printed(sel ast.Selection) string {
	var p printer
	p.selections(ast.SelectionSet{sel})
	return string(p.out)
}

func (d *editor) field(f *ast.Field) *ast.Field {
	if len(f.SelectionSet) == 0 {
		return f
	}
	edited := *f
	edited.SelectionSet = d.set(f.SelectionSet)
	if d.edit.Typename[f] || len(edited.SelectionSet) == 0 {
		typename := &ast.Field{Alias: d.edit.Key, Name: typenameField.Name}
		edited.SelectionSet = append(ast.SelectionSet{typename}, edited.SelectionSet...)
	}
	return &edited
}

// fragment returns the edited fragment of that name; fragments form no cycle.
func (d *editor) fragment(name string) *ast.FragmentDefinition {
	f := d.fragments[name]
	if f == nil {
		return nil
	}
	if f.to == nil {
		edited := *f.from
		edited.SelectionSet = d.set(edited.SelectionSet)
		f.to = &edited
	}
	return f.to
}

// reached lists the fragments that the operation still reaches, in order of
// first use, and notes the variables that it and they use.
func (d *editor) reached(op *ast.OperationDefinition) ast.FragmentDefinitionList {
	d.variables = map[string]bool{}
	d.directives(op.Directives)
	list := d.uses(op.SelectionSet, nil)
	for i := 0; i < len(list); i++ {
		d.directives(list[i].Directives)
		list = d.uses(list[i].SelectionSet, list)
	}
	return list
}

func (d *editor) uses(set ast.SelectionSet, list ast.FragmentDefinitionList) ast.FragmentDefinitionList {
	for _, sel := range set {
		switch sel := sel.(type) {
		case *ast.Field:
			d.arguments(sel.Arguments)
			d.directives(sel.Directives)
			list = d.uses(sel.SelectionSet, list)
		case *ast.InlineFragment:
			d.directives(sel.Directives)
			list = d.uses(sel.SelectionSet, list)
		case *ast.FragmentSpread:
			d.directives(sel.Directives)
			if f := d.fragments[sel.Name]; !f.reached {
				f.reached = true
				list = append(list, f.to)
			}
		}
	}
	return list
}

func (d *editor) directives(list ast.DirectiveList) {
	for _, directive := range list {
		d.arguments(directive.Arguments)
	}
}

func (d *editor) arguments(list ast.ArgumentList) {
	for _, a := range list {
		d.value(a.Value)
	}
}

func (d *editor) value(v *ast.Value) {
	if v == nil {
		return
	}
	if v.Kind == ast.Variable {
		d.variables[v.Raw] = true
	}
	for _, child := range v.Children {
		d.value(child.Value)
	}
}

// Carry returns the values of from's variables as variables of op, by name: for
// an operation that was edited and compiled again. vars may be nil.
func (op *Operation) Carry(from *Operation, vars *Variables) *Variables {
	out := &Variables{Values: make([]Value, len(op.Variables)), Given: make([]bool, len(op.Variables))}
	for i := range op.Variables {
		for k := range from.Variables {
			if from.Variables[k].Name == op.Variables[i].Name && vars != nil && k < len(vars.Values) {
				out.Values[i], out.Given[i] = vars.Values[k], vars.Given[k]
			}
		}
	}
	return out
}

// Includes reports whether @skip and @include of the list let a selection
// stand, under the coerced variables. A value that is not known to be a boolean
// decides nothing, as for [Operation.Live].
func (op *Operation) Includes(list ast.DirectiveList, vars *Variables) bool {
	for _, d := range list {
		if d.Name != "skip" && d.Name != "include" {
			continue
		}
		arg := d.Arguments.ForName("if")
		if arg == nil {
			continue
		}
		want := d.Name == "include"
		if arg.Value.Kind != ast.Variable {
			if (arg.Value.Raw == "true") != want {
				return false
			}
			continue
		}
		i := slices.IndexFunc(op.Variables, func(v Variable) bool { return v.Name == arg.Value.Raw })
		if i < 0 {
			continue
		}
		if val, ok := vars.value(int32(i)).Bool(); ok && val != want {
			return false
		}
	}
	return true
}

// Strictest returns the type that a field selected on parent has for a reader
// who does not know the object's type: non-null wherever that of any possible
// object type is. For a field of an object type it is the field's own type. It
// returns nil when there is no such field.
func (s *Schema) Strictest(parent *ast.Definition, field string) *ast.Type {
	def := s.Field(parent, field)
	if def == nil || parent.Kind != ast.Interface {
		if def == nil {
			return nil
		}
		return def.Type
	}
	if t, ok := s.strictest.Load(def); ok {
		return t.(*ast.Type)
	}
	t := def.Type
	for i := range s.Possible(parent.Name).All {
		if own := s.Field(s.objects[i], field); own != nil {
			t = stricter(t, own.Type)
		}
	}
	s.strictest.Store(def, t)
	return t
}

// stricter is a, non-null where b is. Both have the same list structure, as an
// interface and its implementations do.
func stricter(a, b *ast.Type) *ast.Type {
	if a == nil || b == nil {
		return a
	}
	out := *a
	out.NonNull = a.NonNull || b.NonNull
	out.Elem = stricter(a.Elem, b.Elem)
	return &out
}
