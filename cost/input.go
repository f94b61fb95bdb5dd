package cost

import (
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/schema"
)

// inputSpec is the price of one argument or input field.
type inputSpec struct {
	name string
	// own is the weight that IBM's rules pay once when the value is used.
	own float64
	// explicit says that a directive or an option set own.
	explicit bool
	list     bool
	integer  bool
	// typ is nil for a scalar or an enum.
	typ      *inputType
	fallback *ast.Value // the default; nil when there is none
}

// inputType is an input object.
type inputType struct {
	name   string
	fields map[string]*inputSpec
	// ordered holds the fields in the order of the definition.
	ordered []*inputSpec
	// free says that nothing inside a value of the type ever costs anything.
	free bool
}

func (b *modelBuilder) buildInputs() {
	types := b.schema.AST().Types
	for name, def := range types {
		if def.Kind == ast.InputObject {
			b.inputs[name] = &inputType{name: name, fields: make(map[string]*inputSpec, len(def.Fields)), free: true}
		}
	}
	for name, t := range b.inputs {
		for _, f := range types[name].Fields {
			spec := b.inputSpec(f.Name, f.Type, f.DefaultValue, name+"."+f.Name)
			t.fields[f.Name] = spec
			t.ordered = append(t.ordered, spec)
		}
	}
	b.markFree()
	for _, d := range b.schema.AST().Directives {
		for _, a := range d.Arguments {
			spec := b.inputSpec(a.Name, a.Type, a.DefaultValue, "@"+d.Name+"("+a.Name+":)")
			if spec.own != 0 || spec.typ != nil && !spec.typ.free {
				b.directives[d.Name] = append(b.directives[d.Name], spec)
			}
		}
	}
}

// markFree finds the greatest set of input types inside which nothing costs.
func (b *modelBuilder) markFree() {
	for changed := true; changed; {
		changed = false
		for _, t := range b.inputs {
			if !t.free {
				continue
			}
			for _, f := range t.fields {
				if f.own != 0 || f.explicit || f.typ != nil && (b.algebra.apollo || !f.typ.free) {
					t.free, changed = false, true
					break
				}
			}
		}
	}
}

func (b *modelBuilder) argumentSpec(fields []string, a *ast.ArgumentDefinition) *inputSpec {
	coordinates := make([]string, len(fields))
	for i, f := range fields {
		coordinates[i] = f + "(" + a.Name + ":)"
	}
	return b.inputSpec(a.Name, a.Type, a.DefaultValue, coordinates...)
}

func (b *modelBuilder) inputSpec(name string, t *ast.Type, fallback *ast.Value, coordinates ...string) *inputSpec {
	spec := &inputSpec{
		name: name, list: t.Elem != nil, fallback: fallback, typ: b.inputs[t.Name()],
		integer: t.Elem == nil && t.Name() == "Int",
	}
	spec.own, spec.explicit = b.weight(coordinates...)
	if !spec.explicit && spec.typ != nil {
		spec.own = 1
		if w, ok := b.weight(spec.typ.name); ok {
			spec.own = w
		}
	}
	return spec
}

// prices reports whether a use of the input can cost anything under the profile.
func (m *Model) prices(s *inputSpec) bool {
	switch {
	case m.algebra.ibm:
		return s.own != 0 || s.typ != nil && !s.typ.free
	case m.algebra.apollo:
		return s.explicit && s.own != 0 || s.typ != nil
	}
	return false
}

// inputCost prices a coerced value of an argument or input field; Absent costs
// nothing, defaults must have been applied.
func (m *Model) inputCost(v schema.Value, s *inputSpec) float64 {
	if v.Kind == schema.Absent {
		return 0
	}
	if m.algebra.apollo {
		return routerCost(v, s)
	}
	return s.own + contentCost(v, s.typ)
}

// contentCost is what IBM's rules add for the input fields inside a value. The
// weight of the containing coordinate is not repeated for list elements.
func contentCost(v schema.Value, t *inputType) float64 {
	if t == nil || t.free {
		return 0
	}
	sum := 0.0
	switch v.Kind {
	case schema.List:
		for i := range v.Items {
			sum += contentCost(v.Items[i], t)
		}
	case schema.Object:
		for i := range v.Members {
			if f := t.fields[v.Members[i].Name]; f != nil {
				sum += f.own + contentCost(v.Members[i].Value, f.typ)
			}
		}
	}
	return sum
}

// routerCost is Apollo Router's score_variable: an input object costs 1 or its
// weight, a list its own weight and its elements, null nothing.
func routerCost(v schema.Value, s *inputSpec) float64 {
	own := 0.0
	if s.explicit {
		own = s.own
	}
	switch v.Kind {
	case schema.Null, schema.Absent:
		return 0
	case schema.List:
		for i := range v.Items {
			own += routerCost(v.Items[i], s)
		}
	case schema.Object:
		if s.typ == nil {
			return own
		}
		own = s.own
		for i := range v.Members {
			if f := s.typ.fields[v.Members[i].Name]; f != nil {
				own += routerCost(v.Members[i].Value, f)
			}
		}
	}
	return own
}

// inputTerm is the part of a price that one variable decides.
type inputTerm struct {
	variable int32
	spec     *inputSpec
	// element says that the variable is an element of a list: IBM's own weight
	// is not paid for it.
	element bool
	// absent is the price when the variable has no value: that of the default.
	absent float64
}

func (m *Model) termCost(t *inputTerm, vars *schema.Variables) float64 {
	if vars == worstVariables {
		return m.worstTerm(t)
	}
	v := variable(vars, t.variable)
	switch {
	case v.Kind == schema.Absent:
		return t.absent
	case t.element && m.algebra.ibm:
		return contentCost(v, t.spec.typ)
	}
	return m.inputCost(v, t.spec)
}

// variable returns the value of variable i, Absent when there is none.
func variable(vars *schema.Variables, i int32) schema.Value {
	if vars == nil || i < 0 || int(i) >= len(vars.Values) {
		return schema.Value{}
	}
	return vars.Values[i]
}

// literalCost prices the literal of an input as far as it is constant and
// appends a term for every variable in it. A nil literal is an omitted input.
func (c *compiler) literalCost(v *ast.Value, s *inputSpec, element bool) float64 {
	if v == nil {
		if s.fallback == nil || element {
			return 0
		}
		v = s.fallback
	}
	if v.Kind == ast.Variable {
		t := inputTerm{variable: c.variable(v.Raw), spec: s, element: element}
		if !element && s.fallback != nil {
			t.absent = c.literalCost(s.fallback, s, false)
		}
		c.p.terms = append(c.p.terms, t)
		return 0
	}
	if c.model.algebra.apollo {
		return c.routerLiteral(v, s, element)
	}
	own := s.own
	if element {
		own = 0
	}
	return own + c.contentLiteral(v, s)
}

func (c *compiler) contentLiteral(v *ast.Value, s *inputSpec) float64 {
	if s.typ == nil || s.typ.free {
		return 0
	}
	sum := 0.0
	switch v.Kind {
	case ast.ListValue:
		for _, item := range v.Children {
			sum += c.literalCost(item.Value, s, true)
		}
	case ast.ObjectValue:
		for _, f := range s.typ.ordered {
			sum += c.literalCost(v.Children.ForName(f.name), f, false)
		}
	}
	return sum
}

// routerLiteral is routerCost for a literal. A single value where a list is
// expected is a list of one, as it is in coerced variables.
func (c *compiler) routerLiteral(v *ast.Value, s *inputSpec, element bool) float64 {
	own := 0.0
	if s.explicit {
		own = s.own
	}
	if s.list && !element && v.Kind != ast.ListValue && v.Kind != ast.NullValue {
		return own + c.routerLiteral(v, s, true)
	}
	switch v.Kind {
	case ast.NullValue:
		return 0
	case ast.ListValue:
		for _, item := range v.Children {
			own += c.literalCost(item.Value, s, true)
		}
	case ast.ObjectValue:
		if s.typ == nil {
			return own
		}
		own = s.own
		for _, f := range s.typ.ordered {
			own += c.literalCost(v.Children.ForName(f.name), f, false)
		}
	}
	return own
}
