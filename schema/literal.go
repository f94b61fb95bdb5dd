package schema

import (
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/vektah/gqlparser/v2/ast"
)

// literalKind says how a compiled literal gets its value.
type literalKind uint8

const (
	constantLiteral literalKind = iota
	variableLiteral
	listLiteral
	objectLiteral
)

// literal is a literal compiled against its type: constants are coerced,
// variables are positions in Operation.Variables.
type literal struct {
	kind     literalKind
	constant Value
	variable int32
	items    []literal
	members  []literalMember
}

type literalMember struct {
	name  string
	field *ast.FieldDefinition // nil inside a custom scalar
	value literal
	// fallback is the input field's default, for a variable that is absent.
	fallback Value
	// defaulted is set where the document leaves the field out.
	defaulted bool
}

// literals compiles the literals of one operation.
type literals struct {
	schema *Schema
	// variable returns the position of the named variable, or -1; nil where
	// no variable is allowed.
	variable func(name string) int32
}

// constant coerces a literal without variables, such as a variable's default.
func (s *Schema) constant(v *ast.Value, t *ast.Type) (Value, *ValidationError) {
	l, err := literals{schema: s}.compile(v, t)
	return l.constant, err
}

// argument compiles one argument of a field or directive; v is nil where the
// client left it out. variable returns the position of the named variable in
// Operation.Variables. The error's rule is ValuesOfCorrectType,
// UniqueInputFieldNames, ProvidedRequiredArguments or NoUndefinedVariables.
func (s *Schema) argument(def *ast.ArgumentDefinition, v *ast.Value, variable func(name string) int32) (Argument, *ValidationError) {
	a := Argument{Definition: def, Literal: v, Const: s.arguments[def]}
	if v == nil {
		return a, nil
	}
	l, err := literals{schema: s, variable: variable}.compile(v, def.Type)
	if err != nil {
		return a, err
	}
	if l.kind == constantLiteral {
		a.Const = l.constant
		return a, nil
	}
	a.Dynamic, a.program = true, &l
	return a, nil
}

// Resolve returns the argument's value under vars: Const unless Dynamic. A bare
// variable that is absent leaves the argument to its default, which is Const;
// elsewhere it is null in a list, and an omitted field in an object. A nil vars
// has no variables.
func (a *Argument) Resolve(vars *Variables) Value {
	if !a.Dynamic {
		return a.Const
	}
	if a.program.kind == variableLiteral {
		if v := vars.value(a.program.variable); v.Kind != Absent {
			return v
		}
		return a.Const
	}
	return a.program.resolve(vars)
}

// resolve returns Absent only for a variable that is absent.
func (l *literal) resolve(vars *Variables) Value {
	switch l.kind {
	case variableLiteral:
		return vars.value(l.variable)
	case listLiteral:
		items := make([]Value, len(l.items))
		for i := range l.items {
			items[i] = l.items[i].resolve(vars)
			if items[i].Kind == Absent {
				items[i].Kind = Null
			}
		}
		return Value{Kind: List, Items: items}
	case objectLiteral:
		members := make([]Member, 0, len(l.members))
		for i := range l.members {
			m := &l.members[i]
			v, defaulted := m.value.resolve(vars), m.defaulted
			if v.Kind == Absent {
				v, defaulted = m.fallback, true
			}
			if v.Kind != Absent {
				members = append(members, Member{Name: m.name, Value: v, Field: m.field, Defaulted: defaulted})
			}
		}
		return Value{Kind: Object, Members: members}
	}
	return l.constant
}

func (c literals) compile(v *ast.Value, t *ast.Type) (literal, *ValidationError) {
	switch {
	case v.Kind == ast.Variable:
		return c.reference(v)
	case v.Kind == ast.NullValue:
		if t.NonNull {
			return literal{}, wrongValue(v, t)
		}
		return literal{constant: Value{Kind: Null}}, nil
	case t.Elem != nil && v.Kind == ast.ListValue:
		return c.list(v, t.Elem)
	case t.Elem != nil:
		item, err := c.compile(v, t.Elem)
		return listOf([]literal{item}), err
	}
	named := c.schema.inputOf(t)
	if named == nil {
		return literal{}, wrongValue(v, t)
	}
	switch named.kind {
	case customScalar:
		return c.custom(v)
	case objectType:
		if v.Kind != ast.ObjectValue {
			return literal{}, wrongValue(v, t)
		}
		return c.object(v, named)
	}
	value, ok := scalarLiteral(v, named)
	if !ok {
		return literal{}, wrongValue(v, t)
	}
	return literal{constant: value}, nil
}

func (c literals) reference(v *ast.Value) (literal, *ValidationError) {
	i := int32(-1)
	if c.variable != nil {
		i = c.variable(v.Raw)
	}
	if i < 0 {
		return literal{}, validationAt(v.Position, "NoUndefinedVariables", "variable $"+clip(v.Raw)+" is not defined")
	}
	return literal{kind: variableLiteral, variable: i}, nil
}

func (c literals) list(v *ast.Value, elem *ast.Type) (literal, *ValidationError) {
	items := make([]literal, len(v.Children))
	for i, child := range v.Children {
		var err *ValidationError
		if items[i], err = c.compile(child.Value, elem); err != nil {
			return literal{}, err
		}
	}
	return listOf(items), nil
}

// listOf is a constant when all of its items are.
func listOf(items []literal) literal {
	for i := range items {
		if items[i].kind != constantLiteral {
			return literal{kind: listLiteral, items: items}
		}
	}
	values := make([]Value, len(items))
	for i := range items {
		values[i] = items[i].constant
	}
	return literal{constant: Value{Kind: List, Items: values}}
}

// object compiles an input object: members in schema order, each field at most
// once, defaults filled in.
func (c literals) object(v *ast.Value, t *inputType) (literal, *ValidationError) {
	given := make([]*ast.ChildValue, len(t.fields))
	for _, child := range v.Children {
		i, ok := t.names[child.Name]
		if !ok {
			return literal{}, validationAt(child.Position, "ValuesOfCorrectType",
				fmt.Sprintf("field %q is not defined by type %s", clip(child.Name), t.def.Name))
		}
		if given[i] != nil {
			return literal{}, repeatedField(child)
		}
		given[i] = child
	}
	if t.oneOf && len(v.Children) != 1 {
		return literal{}, validationAt(v.Position, "ValuesOfCorrectType",
			fmt.Sprintf("exactly one field of %s must be given", t.def.Name))
	}
	members := make([]literalMember, 0, len(v.Children))
	for i := range t.fields {
		f := &t.fields[i]
		m := literalMember{name: f.def.Name, field: f.def, fallback: f.fallback}
		switch {
		case given[i] != nil:
			var err *ValidationError
			if m.value, err = c.compile(given[i].Value, f.def.Type); err != nil {
				return literal{}, err
			}
			if t.oneOf && m.value.kind == constantLiteral && m.value.constant.Kind == Null {
				return literal{}, wrongValue(given[i].Value, ast.NonNullNamedType(f.def.Type.Name(), nil))
			}
		case f.required:
			return literal{}, validationAt(v.Position, "ValuesOfCorrectType",
				fmt.Sprintf("field %s.%s is required", t.def.Name, f.def.Name))
		case f.fallback.Kind == Absent:
			continue
		default:
			m.value, m.defaulted = literal{constant: f.fallback}, true
		}
		members = append(members, m)
	}
	return objectOf(members), nil
}

// objectOf is a constant when all of its members are.
func objectOf(members []literalMember) literal {
	for i := range members {
		if members[i].value.kind != constantLiteral {
			return literal{kind: objectLiteral, members: members}
		}
	}
	values := make([]Member, len(members))
	for i := range members {
		m := &members[i]
		values[i] = Member{Name: m.name, Value: m.value.constant, Field: m.field, Defaulted: m.defaulted}
	}
	return literal{constant: Value{Kind: Object, Members: values}}
}

// custom compiles a literal of a custom scalar: any literal, as written.
func (c literals) custom(v *ast.Value) (literal, *ValidationError) {
	switch v.Kind {
	case ast.Variable:
		return c.reference(v)
	case ast.ListValue:
		items := make([]literal, len(v.Children))
		for i, child := range v.Children {
			var err *ValidationError
			if items[i], err = c.custom(child.Value); err != nil {
				return literal{}, err
			}
		}
		return listOf(items), nil
	case ast.ObjectValue:
		members := make([]literalMember, len(v.Children))
		seen := make(map[string]struct{}, len(v.Children))
		for i, child := range v.Children {
			if _, ok := seen[child.Name]; ok {
				return literal{}, repeatedField(child)
			}
			seen[child.Name] = struct{}{}
			value, err := c.custom(child.Value)
			if err != nil {
				return literal{}, err
			}
			members[i] = literalMember{name: child.Name, value: value}
		}
		return objectOf(members), nil
	}
	return literal{constant: untypedLiteral(v)}, nil
}

// untypedLiteral is the value of a leaf literal where no type says more.
func untypedLiteral(v *ast.Value) Value {
	switch v.Kind {
	case ast.IntValue:
		return Value{Kind: Int, Text: v.Raw}
	case ast.FloatValue:
		return Value{Kind: Float, Text: v.Raw}
	case ast.StringValue, ast.BlockValue:
		return Value{Kind: String, Text: v.Raw}
	case ast.BooleanValue:
		return Value{Kind: Bool, Text: v.Raw}
	case ast.EnumValue:
		return Value{Kind: Enum, Text: v.Raw}
	}
	return Value{Kind: Null}
}

// scalarLiteral coerces a leaf literal to a built-in scalar or an enum.
func scalarLiteral(v *ast.Value, t *inputType) (Value, bool) {
	switch t.kind {
	case intScalar:
		n, err := strconv.ParseInt(v.Raw, 10, 32)
		return Value{Kind: Int, Text: canonicalInt(v.Raw, n)}, v.Kind == ast.IntValue && err == nil
	case floatScalar:
		_, err := strconv.ParseFloat(v.Raw, 64)
		return Value{Kind: Float, Text: v.Raw}, (v.Kind == ast.IntValue || v.Kind == ast.FloatValue) && err == nil
	case stringScalar:
		return Value{Kind: String, Text: v.Raw}, v.Kind == ast.StringValue || v.Kind == ast.BlockValue
	case booleanScalar:
		return Value{Kind: Bool, Text: v.Raw}, v.Kind == ast.BooleanValue
	case idScalar:
		return Value{Kind: String, Text: v.Raw}, v.Kind == ast.StringValue || v.Kind == ast.BlockValue || v.Kind == ast.IntValue
	case enumType:
		_, ok := t.names[v.Raw]
		return Value{Kind: Enum, Text: v.Raw}, ok && v.Kind == ast.EnumValue
	}
	return Value{}, false
}

// canonicalInt is raw, or the one spelling of n where raw is another.
func canonicalInt(raw string, n int64) string {
	if n == 0 {
		return "0"
	}
	return raw
}

func repeatedField(child *ast.ChildValue) *ValidationError {
	return validationAt(child.Position, "UniqueInputFieldNames",
		fmt.Sprintf("there can be only one input field named %q", clip(child.Name)))
}

func wrongValue(v *ast.Value, t *ast.Type) *ValidationError {
	return validationAt(v.Position, "ValuesOfCorrectType",
		fmt.Sprintf("expected a value of type %s, found %s", t, shown(v)))
}

// shown names a literal without repeating more than its start.
func shown(v *ast.Value) string {
	switch v.Kind {
	case ast.ListValue:
		return "a list"
	case ast.ObjectValue:
		return "an object"
	case ast.StringValue, ast.BlockValue:
		return strconv.Quote(clip(v.Raw))
	case ast.Variable:
		return "$" + clip(v.Raw)
	}
	return clip(v.Raw)
}

// clip shortens what the client wrote to what an error message may repeat.
func clip(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	s = s[:most]
	for len(s) > 0 {
		if r, n := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || n > 1 {
			break
		}
		s = s[:len(s)-1]
	}
	return s + "…"
}

func validationAt(pos *ast.Position, rule, message string) *ValidationError {
	e := &ValidationError{Rule: rule, Message: message}
	if pos != nil {
		e.Line, e.Column = pos.Line, pos.Column
	}
	return e
}
