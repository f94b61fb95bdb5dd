package schema

import (
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/vektah/gqlparser/v2/ast"
)

// reference is the Kind of a variable inside an Argument's template: Text is
// the variable's position in Operation.Variables in decimal, Items holds the
// default of the input field that it is given to, if there is one. No value
// that leaves this package has it.
const reference Kind = math.MaxUint8

// literals coerces the literals of one document.
type literals struct {
	schema *Schema
	// variable returns the position of the named variable, or -1; nil where
	// no variable is allowed.
	variable func(name string) int32
	// references counts the variables met.
	references int
	fields     []positioned // stack, for objects that are not yet complete
}

// constant coerces a literal without variables, such as a variable's default.
func (s *Schema) constant(v *ast.Value, t *ast.Type) (Value, *ValidationError) {
	c := literals{schema: s}
	return c.value(v, t)
}

// argument compiles one argument of a field or directive; v is nil where the
// client left it out. variable returns the position of the named variable in
// Operation.Variables. The error's rule is ValuesOfCorrectType,
// UniqueInputFieldNames or NoUndefinedVariables. Whether a variable's type is
// allowed where it stands is not looked at.
func (s *Schema) argument(def *ast.ArgumentDefinition, v *ast.Value, variable func(name string) int32) (Argument, *ValidationError) {
	a := Argument{Definition: def, Literal: v, Const: s.arguments[def]}
	if v == nil {
		return a, nil
	}
	c := literals{schema: s, variable: variable}
	value, err := c.value(v, def.Type)
	if err != nil {
		return a, err
	}
	if c.references == 0 {
		a.Const = value
		return a, nil
	}
	template := value
	a.Dynamic, a.template = true, &template
	return a, nil
}

// Resolve returns the argument's value under vars: Const unless Dynamic. A bare
// variable that is absent leaves the argument to its default, which is Const;
// elsewhere it is null in a list, and an omitted field in an object. A nil vars
// has no variables. What holds no variable is not copied.
func (a *Argument) Resolve(vars *Variables) Value {
	if !a.Dynamic {
		return a.Const
	}
	v, _ := a.template.resolve(vars)
	if v.Kind == Absent {
		return a.Const
	}
	return v
}

// resolve puts values in the place of references; changed is false when v holds
// none. It returns Absent only for a reference to a variable that is absent.
func (v Value) resolve(vars *Variables) (resolved Value, changed bool) {
	switch v.Kind {
	case reference:
		return vars.value(v.position()), true
	case List:
		return v.resolveItems(vars)
	case Object:
		return v.resolveMembers(vars)
	}
	return v, false
}

// position is the variable that a reference stands for.
func (v Value) position() int32 {
	n := int32(0)
	for i := range len(v.Text) {
		n = n*10 + int32(v.Text[i]-'0')
	}
	return n
}

func (v Value) resolveItems(vars *Variables) (Value, bool) {
	var items []Value
	for i := range v.Items {
		item, changed := v.Items[i].resolve(vars)
		if !changed {
			continue
		}
		if items == nil {
			items = append(items, v.Items...)
		}
		if item.Kind == Absent {
			item = Value{Kind: Null}
		}
		items[i] = item
	}
	if items == nil {
		return v, false
	}
	return Value{Kind: List, Items: items}, true
}

func (v Value) resolveMembers(vars *Variables) (Value, bool) {
	var members []Member // nil while nothing has changed
	for i := range v.Members {
		m := v.Members[i]
		value, changed := m.Value.resolve(vars)
		if changed && members == nil {
			members = append(make([]Member, 0, len(v.Members)), v.Members[:i]...)
		}
		switch {
		case members == nil:
			continue
		case value.Kind != Absent:
			m.Value = value
		case len(m.Value.Items) > 0:
			m.Value, m.Defaulted = m.Value.Items[0], true
		default:
			continue
		}
		members = append(members, m)
	}
	if members == nil {
		return v, false
	}
	return Value{Kind: Object, Members: members}, true
}

// value coerces a literal to type t.
func (c *literals) value(v *ast.Value, t *ast.Type) (Value, *ValidationError) {
	switch {
	case v.Kind == ast.Variable:
		return c.reference(v)
	case v.Kind == ast.NullValue:
		if t.NonNull {
			return Value{}, wrongValue(v, t)
		}
		return Value{Kind: Null}, nil
	case t.Elem != nil && v.Kind == ast.ListValue:
		return c.list(v, t.Elem)
	case t.Elem != nil:
		item, err := c.value(v, t.Elem)
		return Value{Kind: List, Items: []Value{item}}, err
	}
	named := c.schema.inputOf(t)
	if named == nil {
		return Value{}, wrongValue(v, t)
	}
	switch named.kind {
	case customScalar:
		return c.custom(v)
	case objectType:
		if v.Kind != ast.ObjectValue {
			return Value{}, wrongValue(v, t)
		}
		return c.object(v, named)
	}
	value, ok := scalarLiteral(v, named)
	if !ok {
		return Value{}, wrongValue(v, t)
	}
	return value, nil
}

func (c *literals) reference(v *ast.Value) (Value, *ValidationError) {
	i := int32(-1)
	if c.variable != nil {
		i = c.variable(v.Raw)
	}
	if i < 0 {
		return Value{}, validationAt(v.Position, "NoUndefinedVariables", "variable $"+clip(v.Raw)+" is not defined")
	}
	c.references++
	return Value{Kind: reference, Text: strconv.Itoa(int(i))}, nil
}

// list coerces the items of a list; elem is nil inside a custom scalar.
func (c *literals) list(v *ast.Value, elem *ast.Type) (Value, *ValidationError) {
	items := make([]Value, len(v.Children))
	for i, child := range v.Children {
		var err *ValidationError
		if elem == nil {
			items[i], err = c.custom(child.Value)
		} else {
			items[i], err = c.value(child.Value, elem)
		}
		if err != nil {
			return Value{}, err
		}
	}
	return Value{Kind: List, Items: items}, nil
}

// object coerces an input object.
func (c *literals) object(v *ast.Value, t *inputType) (Value, *ValidationError) {
	if t.oneOf && len(v.Children) != 1 {
		return Value{}, validationAt(v.Position, "ValuesOfCorrectType",
			fmt.Sprintf("exactly one field of %s must be given", t.def.Name))
	}
	base := len(c.fields)
	for _, child := range v.Children {
		at, ok := t.names[child.Name]
		if !ok {
			return Value{}, validationAt(child.Position, "ValuesOfCorrectType",
				fmt.Sprintf("%q is not a field of %s", clip(child.Name), t.def.Name))
		}
		f := &t.fields[at]
		value, err := c.value(child.Value, f.def.Type)
		if err != nil {
			return Value{}, err
		}
		if t.oneOf && value.Kind == Null {
			return Value{}, wrongValue(child.Value, ast.NonNullNamedType(f.def.Type.Name(), nil))
		}
		if value.Kind == reference && f.fallback.Kind != Absent {
			value.Items = []Value{f.fallback}
		}
		c.fields = append(c.fields, positioned{at: at, name: f.def.Name, value: value})
	}
	given := c.fields[base:]
	c.fields = c.fields[:base]
	value, wrong := t.complete(given)
	switch {
	case wrong == nil:
		return value, nil
	case wrong.required:
		return Value{}, validationAt(v.Position, "ValuesOfCorrectType",
			fmt.Sprintf("field %s.%s is required, of type %s", t.def.Name, wrong.def.Name, wrong.def.Type))
	}
	return Value{}, repeatedField(v, wrong.def.Name)
}

// custom takes a literal of a custom scalar as it is written.
func (c *literals) custom(v *ast.Value) (Value, *ValidationError) {
	switch v.Kind {
	case ast.Variable:
		return c.reference(v)
	case ast.ListValue:
		return c.list(v, nil)
	case ast.ObjectValue:
		members := make([]Member, len(v.Children))
		seen := make(map[string]struct{}, len(v.Children))
		for i, child := range v.Children {
			if _, ok := seen[child.Name]; ok {
				return Value{}, repeatedField(v, child.Name)
			}
			seen[child.Name] = struct{}{}
			value, err := c.custom(child.Value)
			if err != nil {
				return Value{}, err
			}
			members[i] = Member{Name: child.Name, Value: value}
		}
		return Value{Kind: Object, Members: members}, nil
	case ast.FloatValue:
		if !computable(v.Raw) {
			return Value{}, validationAt(v.Position, "ValuesOfCorrectType", "the number "+clip(v.Raw)+" is too large or too small to compute with")
		}
	}
	return untypedLiteral(v), nil
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
		return Value{Kind: Float, Text: v.Raw}, (v.Kind == ast.IntValue || v.Kind == ast.FloatValue) && err == nil && computable(v.Raw)
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

// repeatedField points at the second use of the name in an object literal.
func repeatedField(v *ast.Value, name string) *ValidationError {
	pos, uses := v.Position, 0
	for _, child := range v.Children {
		if child.Name == name {
			if uses++; uses == 2 {
				pos = child.Position
			}
		}
	}
	return validationAt(pos, "UniqueInputFieldNames", fmt.Sprintf("there can be only one input field named %q", clip(name)))
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
