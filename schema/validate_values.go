package schema

import "github.com/vektah/gqlparser/v2/ast"

// validateValue holds ValuesOfCorrectType and UniqueInputFieldNames for a
// literal where t is expected, whose named type is typ, and notes the
// variables in it. object is the input object whose field the value is. An
// error leaves c.nesting undefined. It recurses as deep as values nest, which
// scan bounds.
func (c *compiler) validateValue(v *ast.Value, t *ast.Type, typ *inputType, hasDefault bool, object *inputType) error {
	v.ExpectedType, v.Definition, v.ExpectedTypeHasDefault = t, typ.def, hasDefault
	switch v.Kind {
	case ast.Variable:
		c.usages = append(c.usages, usage{
			value: v, typ: t, hasDefault: hasDefault, oneOf: object != nil && object.oneOf, nesting: c.nesting,
		})
		return nil
	case ast.NullValue:
		if t.NonNull {
			return wrongValue(v, t)
		}
		return nil
	case ast.ListValue:
		if t.Elem == nil {
			if typ.kind != customScalar {
				return wrongValue(v, t)
			}
			return c.validateUntyped(v, t)
		}
		c.nesting++
		for _, item := range v.Children {
			if err := c.validateValue(item.Value, t.Elem, typ, false, nil); err != nil {
				return err
			}
		}
		c.nesting--
		return nil
	case ast.ObjectValue:
		if typ.kind == objectType {
			return c.validateObject(v, typ)
		}
		if typ.kind != customScalar {
			return wrongValue(v, t)
		}
		return c.validateUntyped(v, t)
	}
	if typ.kind == customScalar {
		return nil
	}
	if _, ok := scalarLiteral(v, typ); !ok {
		return wrongValue(v, t)
	}
	return nil
}

func (c *compiler) validateObject(v *ast.Value, typ *inputType) error {
	if err := uniqueMembers(v); err != nil {
		return err
	}
	c.nesting++
	for _, m := range v.Children {
		i, ok := typ.names[m.Name]
		if !ok {
			return invalidAt("ValuesOfCorrectType", m.Position,
				"Field "+quoted(m.Name)+" is not defined by type "+quoted(typ.def.Name)+".")
		}
		in := &typ.fields[i]
		hasDefault := in.fallback.Kind != Absent && in.fallback.Kind != Null
		if err := c.validateValue(m.Value, in.def.Type, in.named, hasDefault, typ); err != nil {
			return err
		}
	}
	c.nesting--
	for i := range typ.fields {
		if in := &typ.fields[i]; in.required && v.Children.ForName(in.def.Name) == nil {
			return invalidAt("ValuesOfCorrectType", v.Position, "Field "+quoted(typ.def.Name+"."+in.def.Name)+
				" of required type "+quoted(in.def.Type.String())+" was not provided.")
		}
	}
	if !typ.oneOf {
		return nil
	}
	if len(v.Children) != 1 {
		return invalidAt("ValuesOfCorrectType", v.Position,
			"OneOf Input Object "+quoted(typ.def.Name)+" must specify exactly one key.")
	}
	if v.Children[0].Value.Kind == ast.NullValue {
		return invalidAt("ValuesOfCorrectType", v.Position,
			"Field "+quoted(typ.def.Name+"."+v.Children[0].Name)+" must be non-null.")
	}
	return nil
}

// validateUntyped walks a list or object literal of a custom scalar, where
// everything is admitted. expected is the type that graphql-js expects of
// variables that are items of the scalar's lists, nil inside objects.
func (c *compiler) validateUntyped(v *ast.Value, expected *ast.Type) error {
	switch v.Kind {
	case ast.Variable:
		// hasDefault because graphql-js takes the scalar as nullable here.
		c.usages = append(c.usages, usage{value: v, typ: expected, hasDefault: true, nesting: c.nesting})
		return nil
	case ast.ObjectValue:
		expected = nil
		if err := uniqueMembers(v); err != nil {
			return err
		}
	}
	c.nesting++
	for _, child := range v.Children {
		if err := c.validateUntyped(child.Value, expected); err != nil {
			return err
		}
	}
	c.nesting--
	return nil
}

// uniqueMembers holds UniqueInputFieldNames.
func uniqueMembers(v *ast.Value) error {
	var seen map[string]struct{}
	if len(v.Children) > shortList {
		seen = make(map[string]struct{}, len(v.Children))
	}
	for i, m := range v.Children {
		dup := false
		if seen != nil {
			_, dup = seen[m.Name]
			seen[m.Name] = struct{}{}
		} else {
			for _, earlier := range v.Children[:i] {
				dup = dup || earlier.Name == m.Name
			}
		}
		if dup {
			return invalidAt("UniqueInputFieldNames", m.Position,
				"There can be only one input field named "+quoted(m.Name)+".")
		}
	}
	return nil
}
