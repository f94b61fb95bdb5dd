package schema

import (
	"cmp"
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
)

// InputField is one input-object coordinate.
type InputField struct {
	Object *ast.Definition
	Field  *ast.FieldDefinition
}

// Coordinate is "Object.field".
func (f InputField) Coordinate() string { return f.Object.Name + "." + f.Field.Name }

// InputReach lists every input-object field that can occur in a value of type
// t, at any depth, sorted by coordinate; nil for types without any. It is a
// superset of what InputFields yields for an argument of that type. The result
// is shared: read only.
func (s *Schema) InputReach(t *ast.Type) []InputField {
	named := s.inputOf(t)
	if named == nil || named.kind != objectType {
		return nil
	}
	if found, ok := s.reach.Load(named); ok {
		return found.([]InputField)
	}
	seen := map[*inputType]bool{named: true}
	var fields []InputField
	for queue := []*inputType{named}; len(queue) > 0; queue = queue[1:] {
		for i := range queue[0].fields {
			f := &queue[0].fields[i]
			fields = append(fields, InputField{queue[0].def, f.def})
			if f.named != nil && f.named.kind == objectType && !seen[f.named] {
				seen[f.named] = true
				queue = append(queue, f.named)
			}
		}
	}
	slices.SortFunc(fields, func(a, b InputField) int {
		return cmp.Or(cmp.Compare(a.Object.Name, b.Object.Name), cmp.Compare(a.Field.Name, b.Field.Name))
	})
	s.reach.Store(named, fields)
	return fields
}

// InputFields calls yield for each input-object field that the client supplied
// in an argument of the use, as literal or by variable, at any depth, parents
// before children, until yield returns false. Fields inside a variable's
// default count, since the client wrote the document; what the schema fills in
// does not, nor does the inside of a custom scalar. One field of a list of
// objects is yielded once for each item. A nil vars has no variables.
func (op *Operation) InputFields(use int, vars *Variables, yield func(arg *Argument, object *ast.Definition, field *ast.FieldDefinition, v Value) bool) {
	args := op.Uses[use].Args
	for i := range args {
		a := args[i]
		if a.Literal == nil || a.Dynamic && a.template.Kind == reference && vars.value(a.template.position()).Kind == Absent {
			continue
		}
		named := op.Schema.inputOf(a.Definition.Type)
		if named == nil || named.kind != objectType {
			continue
		}
		w := inputWalk{arg: a, yield: yield}
		if !w.value(a.Resolve(vars), named) {
			return
		}
	}
}

type inputWalk struct {
	arg   *Argument
	yield func(arg *Argument, object *ast.Definition, field *ast.FieldDefinition, v Value) bool
}

// value walks v, of the input object t or a list of it; false ends the walk.
func (w *inputWalk) value(v Value, t *inputType) bool {
	for i := range v.Items {
		if !w.value(v.Items[i], t) {
			return false
		}
	}
	for i := range v.Members {
		m := &v.Members[i]
		if m.Defaulted {
			continue
		}
		if !w.yield(w.arg, t.def, m.Field, m.Value) {
			return false
		}
		f := &t.fields[t.names[m.Name]]
		if f.named != nil && f.named.kind == objectType && !w.value(m.Value, f.named) {
			return false
		}
	}
	return true
}
