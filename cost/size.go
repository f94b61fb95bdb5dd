package cost

import (
	"math"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/schema"
)

// size is the value of a size: none when nothing gives one. bad says that the
// profile or the options refuse it.
type size struct {
	value float64
	bad   bool
	// handed says that sizedFields handed the size down.
	handed bool
	lacks  bool // in the worst case: it can be none as well
}

// sizeOp computes one size. It is either what a field's @listSize expects
// (field is set) or the choice of a list's size among what it inherits, its
// own and the default.
type sizeOp struct {
	constant bool
	result   size // when constant

	spec  *fieldSpec
	terms []sizeTerm

	inherited []int32 // sizes that sizedFields hand down; their maximum counts
	own       int32   // -1 when the field does not size itself
	fallback  float64
	refuse    bool
}

// sizeTerm is one slicing value: constant, or at path below a variable.
type sizeTerm struct {
	slicing  *slicingPath
	variable int32 // -1: constant
	path     []string
	constant slice // also the value when the variable has none
	required bool  // the variable cannot be null or missing
}

// slice is a slicing value as it was found.
type slice struct {
	state sliceState
	value float64
}

type sliceState uint8

const (
	sliceAbsent sliceState = iota
	sliceNull
	sliceNumber
)

// expected returns the op for what the field's @listSize expects, -1 when the
// field has none.
func (c *compiler) expected(f *ast.Field, spec *fieldSpec) int32 {
	if spec.size == nil {
		return -1
	}
	key := sizeKey{f, spec.class}
	if id, ok := c.expectations[key]; ok {
		return id
	}
	op := sizeOp{spec: spec, constant: true, own: -1, terms: make([]sizeTerm, 0, len(spec.size.slicing))}
	for i := range spec.size.slicing {
		s := &spec.size.slicing[i]
		var literal *ast.Value
		if a := f.Arguments.ForName(s.arg.name); a != nil {
			literal = a.Value
		}
		t := c.sizeTerm(literal, s.arg, s.path)
		t.slicing = s
		op.constant = op.constant && t.variable < 0
		op.terms = append(op.terms, t)
	}
	if op.constant {
		op.result = c.model.expectedSize(&op, nil)
	}
	id := c.addSize(op)
	c.expectations[key] = id
	return id
}

type sizeKey struct {
	field *ast.Field
	class int32
}

func (c *compiler) addSize(op sizeOp) int32 {
	id := int32(len(c.p.sizes))
	c.p.sizes = append(c.p.sizes, op)
	if !op.constant {
		c.p.dynamicSizes = append(c.p.dynamicSizes, id)
	}
	return id
}

// sizeTerm finds the value at path below the literal of an input; a nil literal
// is an omitted input.
func (c *compiler) sizeTerm(v *ast.Value, s *inputSpec, path []string) sizeTerm {
	if v == nil {
		if s.fallback == nil {
			return sizeTerm{variable: -1}
		}
		v = s.fallback
	}
	if v.Kind == ast.Variable {
		t := sizeTerm{variable: c.variable(v.Raw), path: path}
		t.required = len(path) == 0 && v.VariableDefinition != nil && v.VariableDefinition.Type.NonNull
		if s.fallback != nil {
			t.constant = c.sizeTerm(s.fallback, s, path).constant
		}
		return t
	}
	if len(path) > 0 {
		switch {
		case v.Kind == ast.NullValue:
			return sizeTerm{variable: -1, constant: slice{state: sliceNull}}
		case v.Kind == ast.ObjectValue && s.typ != nil && s.typ.fields[path[0]] != nil:
			return c.sizeTerm(v.Children.ForName(path[0]), s.typ.fields[path[0]], path[1:])
		}
		return sizeTerm{variable: -1}
	}
	return sizeTerm{variable: -1, constant: literalSlice(v, s)}
}

func literalSlice(v *ast.Value, s *inputSpec) slice {
	switch v.Kind {
	case ast.NullValue:
		return slice{state: sliceNull}
	case ast.ListValue:
		return slice{sliceNumber, float64(len(v.Children))}
	}
	if s.list { // a single value where a list is expected is a list of one
		return slice{sliceNumber, 1}
	}
	if v.Kind == ast.IntValue || v.Kind == ast.FloatValue {
		if n, err := strconv.ParseFloat(v.Raw, 64); err == nil {
			return slice{sliceNumber, n}
		}
	}
	return slice{}
}

// sliceOf reads the slicing value at path below a coerced value.
func sliceOf(v schema.Value, path []string) slice {
	for _, name := range path {
		if v.Kind == schema.Null {
			return slice{state: sliceNull}
		}
		v, _ = v.Member(name)
	}
	switch v.Kind {
	case schema.Null:
		return slice{state: sliceNull}
	case schema.List:
		return slice{sliceNumber, float64(len(v.Items))}
	case schema.Int, schema.Float:
		if n, ok := v.Int64(); ok {
			return slice{sliceNumber, float64(n)}
		}
		if n, ok := v.Float64(); ok {
			return slice{sliceNumber, n}
		}
	}
	return slice{}
}

func (t *sizeTerm) slice(vars *schema.Variables) slice {
	if t.variable < 0 {
		return t.constant
	}
	v := variable(vars, t.variable)
	if v.Kind == schema.Absent {
		return t.constant
	}
	return sliceOf(v, t.path)
}

// expectedSize is the maximum of the slicing values that are present, else the
// assumed size, else none (draft, sections 8.1 to 8.3).
func (m *Model) expectedSize(op *sizeOp, vars *schema.Variables) size {
	l := op.spec.size
	out := size{value: none}
	numbers, nulls := 0, 0
	for i := range op.terms {
		s := op.terms[i].slice(vars)
		switch s.state {
		case sliceNull:
			nulls++
		case sliceNumber:
			if s.value < 0 {
				if m.options.NegativeSize != NegativeFallback {
					out.bad = true
				}
				continue
			}
			numbers++
			if m.outsidePage(op.terms[i].slicing, s.value) {
				out.bad = true
			}
			out.value = max(out.value, s.value)
		}
	}
	if len(op.terms) > 0 {
		if l.require && present(numbers, nulls) != 1 {
			out.bad = true
		}
		if m.algebra.pageSize.Required && numbers == 0 {
			out.bad = true
		}
	}
	if out.value == none {
		out.value = l.assumed
	}
	return out
}

// present counts slicing values as requireOneSlicingArgument means it: a null
// beside a number is not one, a null alone is.
func present(numbers, nulls int) int {
	if numbers > 0 {
		return numbers
	}
	return nulls
}

func (m *Model) outsidePage(s *slicingPath, v float64) bool {
	p := m.algebra.pageSize
	if s.countsItems() {
		return false
	}
	return p.Min != nil && v < float64(*p.Min) || p.Max != nil && v > float64(*p.Max)
}

// countsItems says that the slicing value is the length of a list, not a page size.
func (s *slicingPath) countsItems() bool {
	a := s.arg
	for _, name := range s.path {
		if a.typ == nil || a.typ.fields[name] == nil {
			return false
		}
		a = a.typ.fields[name]
	}
	return a.list
}

// sizeError explains a bad size: the first reason in the order of the slicing
// arguments.
func (m *Model) sizeError(coordinate string, op *sizeOp, vars *schema.Variables) error {
	if op.spec == nil {
		return &UnboundedError{Coordinate: coordinate}
	}
	p := m.algebra.pageSize
	var names []string
	numbers, nulls := 0, 0
	for i := range op.terms {
		t := &op.terms[i]
		names = append(names, t.slicing.text)
		s := t.slice(vars)
		switch {
		case s.state == sliceNull:
			nulls++
		case s.state != sliceNumber:
		case s.value < 0:
			if m.options.NegativeSize != NegativeFallback {
				return &NegativeSizeError{Coordinate: coordinate, Argument: t.slicing.text, Got: s.value}
			}
		default:
			numbers++
			if m.outsidePage(t.slicing, s.value) {
				got := strconv.FormatFloat(s.value, 'f', -1, 64)
				return &PageSizeError{Coordinate: coordinate, Argument: t.slicing.text, Got: got, Min: p.Min, Max: p.Max}
			}
		}
	}
	if p.Required && numbers == 0 {
		got := "nothing"
		if nulls > 0 {
			got = "null"
		}
		return &PageSizeError{Coordinate: coordinate, Argument: strings.Join(names, "|"), Got: got, Min: p.Min, Max: p.Max}
	}
	return &SlicingError{Coordinate: coordinate, Arguments: names, Present: present(numbers, nulls)}
}

// listLength returns the op for the size of the list that the field returns, -1
// when it returns none.
func (c *compiler) listLength(spec *fieldSpec, expected int32, ctx []sizing) int32 {
	if !spec.list {
		return -1
	}
	op := sizeOp{own: -1, fallback: c.model.algebra.listSize}
	op.refuse = c.model.algebra.refuse
	if spec.size != nil && len(spec.size.sized) == 0 {
		op.own = expected
	}
	op.constant = op.own < 0 || c.p.sizes[op.own].constant
	for _, s := range ctx {
		if len(s.path) == 1 && s.path[0] == spec.name {
			op.inherited = append(op.inherited, s.size)
			op.constant = op.constant && c.p.sizes[s.size].constant
		}
	}
	if op.constant {
		op.result = c.p.chosenSize(&op, nil)
		key := op.result
		if id, ok := c.constants[key]; ok {
			return id
		}
		id := c.addSize(op)
		c.constants[key] = id
		return id
	}
	return c.addSize(op)
}

// chosenSize picks the size of a list: what is handed down goes before what the
// field itself says, and that before the default.
func (p *Program) chosenSize(op *sizeOp, s *scratch) size {
	value := float64(none)
	for _, i := range op.inherited {
		value = max(value, p.size(i, s).value)
	}
	if value != none {
		return size{value: value, handed: true}
	}
	if op.own >= 0 {
		value = p.size(op.own, s).value
	}
	switch {
	case value != none:
		return size{value: value}
	case op.refuse:
		return size{value: op.fallback, bad: true}
	}
	return size{value: op.fallback}
}

// size reads a size that has been evaluated.
func (p *Program) size(i int32, s *scratch) size {
	if op := &p.sizes[i]; op.constant {
		return op.result
	}
	return s.sizes[i]
}

func (p *Program) evalSizes(vars *schema.Variables, s *scratch) {
	for _, i := range p.dynamicSizes {
		op := &p.sizes[i]
		switch {
		case vars == worstVariables:
			s.sizes[i] = p.worstSize(op, s)
		case op.spec != nil:
			s.sizes[i] = p.model.expectedSize(op, vars)
		default:
			s.sizes[i] = p.chosenSize(op, s)
		}
	}
}

// logarithmic is shopify_log's size of a connection.
func logarithmic(n float64) float64 {
	if math.IsInf(n, 1) {
		return n
	}
	return math.Floor(2 * math.Log(max(2, n)))
}
