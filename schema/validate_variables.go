package schema

import (
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
)

// usage is a variable in a literal.
type usage struct {
	value *ast.Value
	// typ is the type expected there; nil inside an object of a custom scalar.
	typ *ast.Type
	// hasDefault: the argument or input field has a default other than null.
	hasDefault bool
	oneOf      bool // a field of a oneOf input object
	// nesting is how many lists and objects of the literal it stands in.
	nesting int32
}

// validateVariables holds KnownTypeNames, VariablesAreInputTypes and
// UniqueVariableNames for an operation's variable definitions, and validates
// their defaults and directives.
func (c *compiler) validateVariables(op *ast.OperationDefinition) error {
	clear(c.variables)
	for i, v := range op.VariableDefinitions {
		if _, dup := c.variables[v.Variable]; dup {
			return invalidAt("UniqueVariableNames", v.Position,
				"There can be only one variable named "+quoted("$"+v.Variable)+".")
		}
		c.variables[v.Variable] = int32(i)
		typ := c.typeNamed(v.Type.Name())
		if typ == nil {
			return unknownType(v.Type.Name(), v.Type.Position)
		}
		if typ.composite() {
			return invalidAt("VariablesAreInputTypes", v.Type.Position,
				"Variable "+quoted("$"+v.Variable)+" cannot be non-input type "+quoted(v.Type.String())+".")
		}
		v.Definition = typ.def
		if v.DefaultValue != nil {
			if err := c.validateValue(v.DefaultValue, v.Type, typ.input, false, nil); err != nil {
				return err
			}
		}
		if err := c.validateDirectives(v.Directives, ast.LocationVariableDefinition, typ); err != nil {
			return err
		}
	}
	return nil
}

// markUsed marks the fragments that some operation reaches: users come before
// what they spread.
func (c *compiler) markUsed() {
	for _, i := range slices.Backward(c.sorted) {
		d := &c.defs[i]
		if d.op == nil && !d.used {
			continue
		}
		for _, s := range c.spreads[d.spreads:d.spreadEnd] {
			c.defs[c.nodes[s.node].fragment].used = true
		}
	}
}

// checkVariables holds NoUndefinedVariables, NoUnusedVariables and
// VariablesInAllowedPosition for an operation and the fragments that it
// reaches. The walk budget bounds the sum over operations.
func (c *compiler) checkVariables(i int32) error {
	op := c.defs[i].op
	if len(op.VariableDefinitions) == 0 && len(c.usages) == 0 {
		return nil
	}
	c.nameVariables(op)
	err := c.reach(i, func(d *definition) error {
		for k := range c.usages[d.usages:d.usageEnd] {
			if err := c.checkUsage(op, &c.usages[int(d.usages)+k]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, v := range op.VariableDefinitions {
		if !v.Used {
			return invalidAt("NoUnusedVariables", v.Position, "Variable "+quoted("$"+v.Variable)+" is never used.")
		}
	}
	return nil
}

// nameVariables indexes the operation's variables by name.
func (c *compiler) nameVariables(op *ast.OperationDefinition) {
	clear(c.variables)
	for i, v := range op.VariableDefinitions {
		c.variables[v.Variable] = int32(i)
	}
}

func (c *compiler) checkUsage(op *ast.OperationDefinition, u *usage) error {
	name := u.value.Raw
	i, ok := c.variables[name]
	if !ok {
		return invalidAt("NoUndefinedVariables", u.value.Position,
			"Variable "+quoted("$"+name)+" is not defined by operation "+quoted(op.Name)+".")
	}
	def := op.VariableDefinitions[i]
	def.Used = true
	if u.typ == nil {
		return nil
	}
	if !allowedUsage(def, u) {
		return invalidAt("VariablesInAllowedPosition", u.value.Position, "Variable "+quoted("$"+name)+" of type "+
			quoted(def.Type.String())+" used in position expecting type "+quoted(u.typ.String())+".")
	}
	if u.oneOf && !def.Type.NonNull {
		return invalidAt("VariablesInAllowedPosition", u.value.Position, "Variable "+quoted("$"+name)+" of type "+
			quoted(def.Type.String())+" must be non-nullable to be used for a OneOf Input Object.")
	}
	return nil
}

// allowedUsage is the specification's IsVariableUsageAllowed (section 5.8.5).
func allowedUsage(def *ast.VariableDefinition, u *usage) bool {
	if u.typ.NonNull && !def.Type.NonNull {
		hasDefault := def.DefaultValue != nil && def.DefaultValue.Kind != ast.NullValue
		return (hasDefault || u.hasDefault) && sameOrStricter(def.Type, u.typ, true)
	}
	return sameOrStricter(def.Type, u.typ, false)
}

// sameOrStricter reports whether each value of t is one of want. nullable
// takes want's outermost type as nullable.
func sameOrStricter(t, want *ast.Type, nullable bool) bool {
	if want.NonNull && !nullable && !t.NonNull {
		return false
	}
	if want.Elem == nil || t.Elem == nil {
		return want.Elem == nil && t.Elem == nil && t.NamedType == want.NamedType
	}
	return sameOrStricter(t.Elem, want.Elem, false)
}

// bindVariables makes the operation's variables and points the literals'
// variables at their definitions.
func (c *compiler) bindVariables(op *Operation, chosen int32) error {
	defs := op.Definition.VariableDefinitions
	if len(defs) == 0 {
		return nil
	}
	c.nameVariables(op.Definition)
	op.Variables = make([]Variable, len(defs))
	for i, def := range defs {
		op.Variables[i] = Variable{Name: def.Variable, Definition: def, named: c.schema.inputOf(def.Type)}
		if def.DefaultValue != nil {
			value, err := c.schema.constant(def.DefaultValue, def.Type)
			if err != nil {
				return err
			}
			op.Variables[i].Default = value
		}
	}
	_ = c.reach(chosen, func(d *definition) error {
		for k := range c.usages[d.usages:d.usageEnd] {
			u := &c.usages[int(d.usages)+k]
			i := c.variables[u.value.Raw]
			u.value.VariableDefinition = defs[i]
			v := &op.Variables[i]
			v.nesting = max(v.nesting, int(u.nesting))
			v.uses++
		}
		return nil
	})
	return c.boundDefaults(op)
}

// literalDepth is how deep lists and objects nest in a literal.
func literalDepth(v *ast.Value) int {
	if v.Kind != ast.ListValue && v.Kind != ast.ObjectValue {
		return 0
	}
	depth := 0
	for _, child := range v.Children {
		depth = max(depth, literalDepth(child.Value))
	}
	return depth + 1
}

// boundDefaults holds what the defaults of variables become where the variables
// stand against the limits, as Coerce does with what a client gives.
func (c *compiler) boundDefaults(op *Operation) error {
	values := 0
	for i := range op.Variables {
		v := &op.Variables[i]
		literal := v.Definition.DefaultValue
		if literal == nil {
			continue
		}
		if depth := v.nesting + literalDepth(literal); depth > c.limits.ValueDepth {
			return limitAt(LimitValue, depth, c.limits.ValueDepth, literal.Position)
		}
		if values += v.Default.size() * v.uses; values > c.limits.Walk {
			return limitAt(LimitWalk, values, c.limits.Walk, literal.Position)
		}
	}
	return nil
}
