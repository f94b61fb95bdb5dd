package schema

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
)

// inputKind says how a named input type is coerced.
type inputKind uint8

const (
	customScalar inputKind = iota
	intScalar
	floatScalar
	stringScalar
	booleanScalar
	idScalar
	enumType
	objectType
)

// inputType is a named input type with what coercion asks of it.
type inputType struct {
	def    *ast.Definition
	kind   inputKind
	names  map[string]int // enum values or input fields, to their position
	fields []inputField
	oneOf  bool
	// implied lists the fields that are required or have a default, in order.
	implied []int
}

type inputField struct {
	def   *ast.FieldDefinition
	named *inputType
	// fallback is the coerced default; Absent when there is none.
	fallback Value
	required bool

	state defaultState
	size  int // values in fallback
}

type defaultState uint8

const (
	defaultPending defaultState = iota
	defaultStarted
	defaultReady
)

// maxDefaultSize bounds the values in one default, nested ones included:
// defaults of defaults could otherwise multiply.
const maxDefaultSize = 10_000

// inputOf returns the named type inside t; nil when it is not an input type.
func (s *Schema) inputOf(t *ast.Type) *inputType { return s.inputs[t.Name()] }

// buildInputs fills the tables of input types and their coerced defaults.
func (s *Schema) buildInputs() []Problem {
	s.inputs = map[string]*inputType{}
	for _, def := range s.ast.Types {
		if def.IsInputType() {
			s.inputs[def.Name] = newInputType(def)
		}
	}
	for _, t := range s.inputs {
		for i := range t.fields {
			t.fields[i].named = s.inputOf(t.fields[i].def.Type)
		}
	}
	d := defaults{schema: s}
	for _, t := range s.inputs {
		for i := range t.fields {
			d.field(t, i)
		}
	}
	s.arguments = map[*ast.ArgumentDefinition]Value{}
	for _, def := range s.ast.Types {
		if def.Kind == ast.InputObject {
			continue
		}
		for _, f := range def.Fields {
			d.arguments(f.Arguments)
		}
	}
	for _, def := range s.ast.Directives {
		d.arguments(def.Arguments)
	}
	return d.problems
}

func newInputType(def *ast.Definition) *inputType {
	t := &inputType{def: def}
	switch def.Kind {
	case ast.Enum:
		t.kind = enumType
		t.names = make(map[string]int, len(def.EnumValues))
		for i, v := range def.EnumValues {
			t.names[v.Name] = i
		}
	case ast.InputObject:
		t.kind = objectType
		t.oneOf = def.Directives.ForName("oneOf") != nil
		t.names = make(map[string]int, len(def.Fields))
		t.fields = make([]inputField, len(def.Fields))
		for i, f := range def.Fields {
			t.names[f.Name] = i
			if f.Type.NonNull || f.DefaultValue != nil {
				t.implied = append(t.implied, i)
			}
			t.fields[i] = inputField{def: f, required: f.Type.NonNull && f.DefaultValue == nil}
		}
	default:
		t.kind = map[string]inputKind{
			"Int": intScalar, "Float": floatScalar, "String": stringScalar,
			"Boolean": booleanScalar, "ID": idScalar,
		}[def.Name]
	}
	return t
}

// positioned is a given member with its place in the definition.
type positioned struct {
	at    int
	name  string
	value Value
}

// complete makes an input object of the given members, which it may reorder: in
// the order of the definition, with defaults filled in. wrong is the first
// field that is required and not given, or else one that is given twice.
func (t *inputType) complete(given []positioned) (v Value, wrong *inputField) {
	byPlace := func(a, b positioned) int { return cmp.Compare(a.at, b.at) }
	if !slices.IsSortedFunc(given, byPlace) {
		slices.SortStableFunc(given, byPlace)
	}
	members := make([]Member, 0, len(given)+len(t.implied))
	for i, j := 0, 0; i < len(given) || j < len(t.implied); {
		if j == len(t.implied) || i < len(given) && given[i].at <= t.implied[j] {
			f := &t.fields[given[i].at]
			if i > 0 && given[i-1].at == given[i].at {
				return Value{}, &inputField{def: f.def}
			}
			if j < len(t.implied) && given[i].at == t.implied[j] {
				j++
			}
			members = append(members, Member{Name: f.def.Name, Value: given[i].value, Field: f.def})
			i++
			continue
		}
		f := &t.fields[t.implied[j]]
		if f.required {
			return Value{}, f
		}
		members = append(members, Member{Name: f.def.Name, Value: f.fallback, Field: f.def, Defaulted: true})
		j++
	}
	return Value{Kind: Object, Members: members}, nil
}

// defaults coerces the defaults of input fields and arguments, each after
// those that it needs itself.
type defaults struct {
	schema   *Schema
	problems []Problem
}

func (d *defaults) problem(pos *ast.Position, format string, args ...any) {
	d.problems = append(d.problems, problemAt(pos, fmt.Sprintf(format, args...)))
}

// field makes sure that field i of t has its fallback and returns its size.
func (d *defaults) field(t *inputType, i int) int {
	f := &t.fields[i]
	literal := f.def.DefaultValue
	switch {
	case literal == nil || f.state == defaultReady:
		return f.size
	case f.state == defaultStarted:
		d.problem(f.def.Position, "the default of %s.%s contains itself", t.def.Name, f.def.Name)
		return 0
	}
	f.state = defaultStarted
	size := d.needs(literal, f.def.Type)
	f.state = defaultReady
	if size > maxDefaultSize {
		d.problem(literal.Position, "the default of %s.%s holds more than %d values", t.def.Name, f.def.Name, maxDefaultSize)
		return maxDefaultSize
	}
	value, err := d.schema.constant(literal, f.def.Type)
	if err != nil {
		d.problem(literal.Position, "the default of %s.%s is not valid: %s", t.def.Name, f.def.Name, err.Message)
		return 0
	}
	f.fallback, f.size = value, size
	return size
}

func (d *defaults) arguments(args ast.ArgumentDefinitionList) {
	for _, a := range args {
		if a.DefaultValue == nil {
			continue
		}
		d.needs(a.DefaultValue, a.Type)
		value, err := d.schema.constant(a.DefaultValue, a.Type)
		if err != nil {
			d.problem(a.DefaultValue.Position, "the default of argument %s is not valid: %s", a.Name, err.Message)
			continue
		}
		d.schema.arguments[a] = value
	}
}

// needs prepares the defaults that literal's omitted fields will take and
// returns the number of values of the whole.
func (d *defaults) needs(literal *ast.Value, t *ast.Type) int {
	size := 1
	switch literal.Kind {
	case ast.ListValue:
		for _, c := range literal.Children {
			size += d.needs(c.Value, elementType(t))
		}
	case ast.ObjectValue:
		named := d.schema.inputOf(t)
		if named == nil || named.kind != objectType {
			return size
		}
		given := make(map[string]bool, len(literal.Children))
		for _, c := range literal.Children {
			given[c.Name] = true
			if i, ok := named.names[c.Name]; ok {
				size += d.needs(c.Value, named.fields[i].def.Type)
			}
		}
		for i := range named.fields {
			if !given[named.fields[i].def.Name] {
				size += d.field(named, i)
			}
		}
	}
	return size
}

// elementType is the type of t's items, or t itself where it is no list.
func elementType(t *ast.Type) *ast.Type {
	if t.Elem != nil {
		return t.Elem
	}
	return t
}
