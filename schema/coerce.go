package schema

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/jsonscan"
)

// Coerce turns the variables of one request, a JSON object as the client sent
// it, into typed values by the specification's CoerceVariableValues (section
// 6.1.2). nil, an empty text and null are the empty object. Variables that the
// operation does not declare are dropped, but all of the JSON is held to RFC
// 8259 strictly: duplicate names at any depth, invalid UTF-8 and lone
// surrogates are refused. limits bounds the depth of values, that of the literal
// in which a variable stands included, list items and, by Walk, the number of
// values in all, those of a variable once for each place where it stands.
// Errors are *VariableError.
func (op *Operation) Coerce(variables []byte, limits Limits) (*Variables, error) {
	vars := &Variables{}
	if err := op.CoerceInto(vars, variables, limits); err != nil {
		return nil, err
	}
	return vars, nil
}

// CoerceInto is Coerce into the memory of vars, whose earlier values are gone
// also when there is an error.
func (op *Operation) CoerceInto(vars *Variables, variables []byte, limits Limits) error {
	vars.Reset()
	n := len(op.Variables)
	if cap(vars.Values) < n {
		vars.Values = make([]Value, n)
	}
	if cap(vars.Given) < n {
		vars.Given = make([]bool, n)
	}
	vars.Values, vars.Given = vars.Values[:n], vars.Given[:n]
	clear(vars.Given)
	if r := jsonscan.New(variables); r.Peek() != 0 || r.Offset() < len(variables) {
		limits := limits.orDefaults()
		if !op.coerceScalars(vars, variables, &limits) {
			vars.forget()
			c := coercers.Get().(*coercer)
			err := c.run(op, variables, limits, vars)
			c.release()
			if err != nil {
				return err
			}
		}
	}
	for i := range op.Variables {
		v := &op.Variables[i]
		if vars.Given[i] {
			continue
		}
		if v.Default.Kind == Absent && v.Definition.Type.NonNull {
			return &VariableError{Path: "$" + clip(v.Name), Message: "is required, of type " + v.Definition.Type.String()}
		}
		vars.Values[i] = v.Default
	}
	return nil
}

// coerceScalars coerces variables of the kind that most are: scalars and enum
// values, all of them declared. It reports false for everything else, also for
// what is wrong, and leaves the decision to a coercer.
func (op *Operation) coerceScalars(vars *Variables, variables []byte, limits *Limits) bool {
	text := string(variables) // its one copy, from which values are cut
	r := jsonscan.New(variables)
	if len(op.Variables) > fewVariables || !r.Take('{') {
		return false
	}
	if r.Take('}') {
		return r.Peek() == 0 && r.Offset() == len(variables)
	}
	values := 0
	for more := true; more; {
		name, ok := r.Name()
		if !ok {
			return false
		}
		i := 0
		for i < len(op.Variables) && op.Variables[i].Name != string(name) {
			i++
		}
		if i == len(op.Variables) || vars.Given[i] {
			return false
		}
		v := &op.Variables[i]
		if vars.Values[i], ok = v.scalar(&r, text); !ok {
			return false
		}
		vars.Given[i] = true
		if values += max(v.uses, 1); values > limits.Walk {
			return false
		}
		if more, ok = r.Next('}'); !ok {
			return false
		}
	}
	return r.Peek() == 0 && r.Offset() == len(variables)
}

// scalar reads a built-in scalar, an enum value or a null. text is what r reads.
func (v *Variable) scalar(r *jsonscan.Reader, text string) (Value, bool) {
	t, named := v.Definition.Type, v.named
	if t.Elem != nil || named == nil || named.kind == customScalar || named.kind == objectType {
		return Value{}, false
	}
	c := r.Peek()
	begin := r.Offset()
	switch {
	case c == 'n':
		return Value{Kind: Null}, !t.NonNull && r.Word("null")
	case c == '"' && (named.kind == stringScalar || named.kind == idScalar || named.kind == enumType):
		_, escaped, ok := r.String()
		if !ok || escaped {
			return Value{}, false
		}
		value := Value{Kind: String, Text: text[begin+1 : r.Offset()-1]}
		if named.kind == enumType {
			value.Kind = Enum
			_, ok = named.names[value.Text]
		}
		return value, ok
	case (c == 't' || c == 'f') && named.kind == booleanScalar:
		ok := r.Word("true") || r.Word("false")
		return Value{Kind: Bool, Text: text[begin:r.Offset()]}, ok
	case (c == '-' || '0' <= c && c <= '9') && (named.kind == intScalar || named.kind == floatScalar || named.kind == idScalar):
		if _, ok := r.Number(); !ok {
			return Value{}, false
		}
		return number(text[begin:r.Offset()], named.kind)
	}
	return Value{}, false
}

// forget makes all values absent.
func (vars *Variables) forget() {
	clear(vars.Values)
	clear(vars.Given)
}

// Reset forgets all values. The memory that held them is used again by
// CoerceInto, where it is not unusually large.
func (vars *Variables) Reset() {
	if cap(vars.Values) > maxKept {
		*vars = Variables{}
		return
	}
	clear(vars.Values) // what lies behind was cleared before
	vars.Values, vars.Given = vars.Values[:0], vars.Given[:0]
}

// AppendVariables appends the JSON object of the variables that the client
// gave, coerced, in the order of their definitions: what is forwarded. Defaults
// are left out, those of variables and those of input fields alike: the
// document and the schema carry them.
func (op *Operation) AppendVariables(dst []byte, vars *Variables) []byte {
	dst = append(dst, '{')
	first := true
	for i := range op.Variables {
		if vars == nil || i >= len(vars.Given) || !vars.Given[i] {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendQuoted(dst, op.Variables[i].Name)
		dst = append(dst, ':')
		dst = vars.Values[i].appendJSON(dst, true)
	}
	return append(dst, '}')
}

// coercer reads one JSON text. Values are cut from text, its one copy.
type coercer struct {
	buf    bytes.Buffer
	dec    jsontext.Decoder
	text   string
	limits Limits
	values int

	// items and fields are stacks, for lists and objects that are not yet complete.
	items  []Value
	fields []positioned
}

var coercers = sync.Pool{New: func() any { return new(coercer) }}

// maxKept bounds what a pooled coercer holds on to.
const maxKept = 1024

func (c *coercer) release() {
	// Past their length the stacks are clear: what is popped is cleared.
	clear(c.items)
	clear(c.fields)
	c.items, c.fields = c.items[:0], c.fields[:0]
	if cap(c.items) > maxKept {
		c.items = nil
	}
	if cap(c.fields) > maxKept {
		c.fields = nil
	}
	c.text = ""
	c.buf = bytes.Buffer{}
	c.dec.Reset(&c.buf) // lets go of the request's bytes
	coercers.Put(c)
}

func (c *coercer) run(op *Operation, variables []byte, limits Limits, vars *Variables) error {
	c.buf = *bytes.NewBuffer(variables)
	c.dec.Reset(&c.buf)
	c.text, c.limits, c.values = string(variables), limits, 0
	var err *VariableError
	switch c.dec.PeekKind() {
	case 'n':
		err = c.skip()
	case '{':
		err = c.object(op, vars)
	default:
		if err = c.skip(); err == nil {
			err = &VariableError{Message: "not a JSON object"}
		}
	}
	if err == nil {
		if _, e := c.dec.ReadToken(); !errors.Is(e, io.EOF) {
			err = &VariableError{Message: "more than one JSON value"}
		}
	}
	if err != nil {
		err.Path = "$" + err.Path
		return err
	}
	return nil
}

func (c *coercer) object(op *Operation, vars *Variables) *VariableError {
	if _, err := c.dec.ReadToken(); err != nil {
		return malformed(err)
	}
	find := op.variableFinder()
	for c.dec.PeekKind() != '}' {
		name, err := c.string()
		if err != nil {
			return err
		}
		i := find(name)
		if i < 0 {
			if err := c.skip(); err != nil {
				return err
			}
			continue
		}
		v := &op.Variables[i]
		t, before := v.Definition.Type, c.values
		value, err := c.value(t, v.named, v.nesting)
		if err == nil {
			err = c.count((c.values - before) * max(v.uses-1, 0))
		}
		if err != nil {
			err.Path = clip(name) + err.Path
			return err
		}
		vars.Values[i], vars.Given[i] = value, true
	}
	return c.end()
}

// fewVariables is how many names are searched one by one rather than hashed.
const fewVariables = 16

func (op *Operation) variableFinder() func(name string) int {
	if len(op.Variables) <= fewVariables {
		return func(name string) int {
			for i := range op.Variables {
				if op.Variables[i].Name == name {
					return i
				}
			}
			return -1
		}
	}
	byName := make(map[string]int, len(op.Variables))
	for i := range op.Variables {
		byName[op.Variables[i].Name] = i
	}
	return func(name string) int {
		if i, ok := byName[name]; ok {
			return i
		}
		return -1
	}
}

// value reads the next JSON value as one of type t, whose named type is named.
func (c *coercer) value(t *ast.Type, named *inputType, depth int) (Value, *VariableError) {
	kind := c.dec.PeekKind()
	if err := c.count(1); err != nil {
		return Value{}, err
	}
	if kind == 'n' {
		if err := c.skip(); err != nil {
			return Value{}, err
		}
		if t.NonNull {
			return Value{}, &VariableError{Message: "null where " + t.String() + " is required"}
		}
		return Value{Kind: Null}, nil
	}
	if t.Elem != nil {
		if kind == '[' {
			return c.list(t.Elem, named, depth)
		}
		item, err := c.value(t.Elem, named, depth)
		return Value{Kind: List, Items: []Value{item}}, err
	}
	if named == nil {
		return Value{}, &VariableError{Message: "type " + t.String() + " is not an input type"}
	}
	switch named.kind {
	case customScalar:
		return c.custom(depth)
	case objectType:
		if kind != '{' {
			return Value{}, c.wrong(t)
		}
		return c.input(named, depth)
	}
	return c.scalar(t, named, kind)
}

// count counts n more values against the total.
func (c *coercer) count(n int) *VariableError {
	c.values += n
	if c.values > c.limits.Walk {
		return &VariableError{Limit: true, Message: fmt.Sprintf("more than %d values in all", c.limits.Walk)}
	}
	return nil
}

// enter reads an opening bracket at the given depth.
func (c *coercer) enter(depth int) *VariableError {
	if depth >= c.limits.ValueDepth {
		return &VariableError{Limit: true, Message: fmt.Sprintf("nested deeper than %d", c.limits.ValueDepth)}
	}
	if _, err := c.dec.ReadToken(); err != nil {
		return malformed(err)
	}
	return nil
}

// end reads the closing bracket that is next.
func (c *coercer) end() *VariableError {
	if _, err := c.dec.ReadToken(); err != nil {
		return malformed(err)
	}
	return nil
}

// list reads a list; elem is nil inside a custom scalar.
func (c *coercer) list(elem *ast.Type, named *inputType, depth int) (Value, *VariableError) {
	if err := c.enter(depth); err != nil {
		return Value{}, err
	}
	base := len(c.items)
	for c.dec.PeekKind() != ']' {
		n := len(c.items) - base
		if n == c.limits.ListItems {
			return Value{}, &VariableError{Limit: true, Message: fmt.Sprintf("more than %d items", n)}
		}
		var item Value
		var err *VariableError
		if elem == nil {
			if err = c.count(1); err == nil {
				item, err = c.custom(depth + 1)
			}
		} else {
			item, err = c.value(elem, named, depth+1)
		}
		if err != nil {
			err.Path = "[" + strconv.Itoa(n) + "]" + err.Path
			return Value{}, err
		}
		c.items = append(c.items, item)
	}
	items := append([]Value(nil), c.items[base:]...)
	clear(c.items[base:])
	c.items = c.items[:base]
	return Value{Kind: List, Items: items}, c.end()
}

// input reads an input object.
func (c *coercer) input(t *inputType, depth int) (Value, *VariableError) {
	if err := c.enter(depth); err != nil {
		return Value{}, err
	}
	base := len(c.fields)
	for c.dec.PeekKind() != '}' {
		name, err := c.string()
		if err != nil {
			return Value{}, err
		}
		at, ok := t.names[name]
		if !ok {
			return Value{}, &VariableError{Path: "." + clip(name), Message: "is not a field of " + t.def.Name}
		}
		f := &t.fields[at]
		value, err := c.value(f.def.Type, f.named, depth+1)
		if err != nil {
			err.Path = "." + f.def.Name + err.Path
			return Value{}, err
		}
		c.fields = append(c.fields, positioned{at, f.def.Name, value})
	}
	if err := c.end(); err != nil {
		return Value{}, err
	}
	given := c.fields[base:]
	defer c.pop(base)
	if t.oneOf && (len(given) != 1 || given[0].value.Kind == Null) {
		return Value{}, &VariableError{Message: "exactly one field of " + t.def.Name + " must be given, and not as null"}
	}
	value, wrong := t.complete(given)
	if wrong != nil { // no name repeats in strict JSON
		return Value{}, &VariableError{Path: "." + wrong.def.Name, Message: "is required, of type " + wrong.def.Type.String()}
	}
	return value, c.count(len(value.Members) - len(given))
}

// custom reads any JSON as the value of a custom scalar.
func (c *coercer) custom(depth int) (Value, *VariableError) {
	switch kind := c.dec.PeekKind(); kind {
	case '[':
		return c.list(nil, nil, depth)
	case '{':
		return c.customObject(depth)
	case '"':
		text, err := c.string()
		return Value{Kind: String, Text: text}, err
	case 'n':
		return Value{Kind: Null}, c.skip()
	default:
		raw, err := c.raw()
		if err != nil {
			return Value{}, err
		}
		kind := leafKind(raw)
		if kind == Float && !computable(raw) {
			return Value{}, &VariableError{Message: "the number " + clip(raw) + " is too large or too small to compute with"}
		}
		return Value{Kind: kind, Text: raw}, nil
	}
}

// maxDigits bounds a number's digits before its exponent plus the exponent's magnitude.
const maxDigits = 25000

// computable reports whether a policy can compute with the number: beyond 2^±100000
// OPA refuses to. A rule that cannot see a number that is there would take it for
// absent, which is a fact for one that says not.
func computable(raw string) bool {
	i := strings.IndexAny(raw, "eE")
	if i < 0 {
		return true
	}
	exponent, err := strconv.Atoi(raw[i+1:])
	return err == nil && i+max(exponent, -exponent) <= maxDigits
}

// leafKind is the kind of a JSON true, false or number.
func leafKind(raw string) Kind {
	switch {
	case raw == "true" || raw == "false":
		return Bool
	case strings.ContainsAny(raw, ".eE"):
		return Float
	}
	return Int
}

func (c *coercer) customObject(depth int) (Value, *VariableError) {
	if err := c.enter(depth); err != nil {
		return Value{}, err
	}
	base := len(c.fields)
	for c.dec.PeekKind() != '}' {
		name, err := c.string()
		if err == nil {
			err = c.count(1)
		}
		if err != nil {
			return Value{}, err
		}
		value, err := c.custom(depth + 1)
		if err != nil {
			err.Path = "." + clip(name) + err.Path
			return Value{}, err
		}
		c.fields = append(c.fields, positioned{name: name, value: value})
	}
	members := make([]Member, len(c.fields)-base)
	for i, f := range c.fields[base:] {
		members[i] = Member{Name: f.name, Value: f.value}
	}
	c.pop(base)
	return Value{Kind: Object, Members: members}, c.end()
}

func (c *coercer) pop(base int) {
	clear(c.fields[base:])
	c.fields = c.fields[:base]
}

// scalar reads a built-in scalar or an enum value.
func (c *coercer) scalar(t *ast.Type, named *inputType, kind jsontext.Kind) (Value, *VariableError) {
	switch {
	case kind == '"' && (named.kind == stringScalar || named.kind == idScalar):
		text, err := c.string()
		return Value{Kind: String, Text: text}, err
	case kind == '"' && named.kind == enumType:
		text, err := c.string()
		if err != nil {
			return Value{}, err
		}
		if _, ok := named.names[text]; !ok {
			return Value{}, &VariableError{Message: strconv.Quote(clip(text)) + " is not a value of enum " + named.def.Name}
		}
		return Value{Kind: Enum, Text: text}, nil
	case (kind == 't' || kind == 'f') && named.kind == booleanScalar:
		raw, err := c.raw()
		return Value{Kind: Bool, Text: raw}, err
	case kind == '0' && named.kind != stringScalar && named.kind != enumType && named.kind != booleanScalar:
		raw, err := c.raw()
		if err != nil {
			return Value{}, err
		}
		if v, ok := number(raw, named.kind); ok {
			return v, nil
		}
		return Value{}, &VariableError{Message: "the number " + clip(raw) + " is not a value of type " + t.String()}
	}
	return Value{}, c.wrong(t)
}

// number coerces a JSON number. Int and ID take any spelling of an integer, as
// graphql-js does: 1e3 is 1000.
func number(raw string, kind inputKind) (Value, bool) {
	if kind == intScalar && fewDigits(raw) {
		return Value{Kind: Int, Text: raw}, true
	}
	f, err := strconv.ParseFloat(raw, 64)
	if err != nil || !computable(raw) { // 1e-999999 is 0 to ParseFloat
		return Value{}, false
	}
	switch kind {
	case floatScalar:
		return Value{Kind: Float, Text: raw}, true
	case intScalar:
		if f != math.Trunc(f) || f < math.MinInt32 || f > math.MaxInt32 {
			return Value{}, false
		}
		if leafKind(raw) == Int && raw != "-0" { // JSON writes an integer in one way
			return Value{Kind: Int, Text: raw}, true
		}
		return Value{Kind: Int, Text: strconv.FormatInt(int64(f), 10)}, true
	case idScalar:
		if leafKind(raw) == Int {
			return Value{Kind: String, Text: canonicalInt(raw, int64(f))}, true
		}
		const exact = 1 << 53
		if f != math.Trunc(f) || math.Abs(f) > exact {
			return Value{}, false
		}
		return Value{Kind: String, Text: strconv.FormatInt(int64(f), 10)}, true
	}
	return Value{}, false
}

// fewDigits reports whether a JSON number is digits alone, and so few that they
// are below 2^31.
func fewDigits(raw string) bool {
	for i := range len(raw) {
		if raw[i] < '0' || raw[i] > '9' {
			return false
		}
	}
	return len(raw) <= 9
}

// wrong is the error for the next value, which it names by its JSON kind only.
func (c *coercer) wrong(t *ast.Type) *VariableError {
	kind := c.dec.PeekKind()
	if kind == 0 {
		if err := c.skip(); err != nil {
			return err
		}
		return &VariableError{Message: "not valid JSON"}
	}
	name := map[jsontext.Kind]string{
		'"': "a string", '0': "a number", 't': "true", 'f': "false", '{': "an object", '[': "a list",
	}[kind]
	return &VariableError{Message: name + " where " + t.String() + " is expected"}
}

// string reads a string, as a name or as a value.
func (c *coercer) string() (string, *VariableError) {
	raw, err := c.raw()
	if err != nil {
		return "", err
	}
	if len(raw) < 2 || raw[0] != '"' {
		return "", &VariableError{Message: "not a string"}
	}
	if strings.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1], nil
	}
	text, e := jsontext.AppendUnquote(nil, raw)
	if e != nil {
		return "", malformed(e)
	}
	return string(text), nil
}

// raw reads the next value whole and returns it as a part of text.
func (c *coercer) raw() (string, *VariableError) {
	raw, err := c.dec.ReadValue()
	if err != nil {
		return "", malformed(err)
	}
	end := c.dec.InputOffset()
	return c.text[end-int64(len(raw)) : end], nil
}

// skip reads over the next value.
func (c *coercer) skip() *VariableError {
	if err := c.dec.SkipValue(); err != nil {
		return malformed(err)
	}
	return nil
}

// malformed reports JSON that is not strict, without repeating any of it.
func malformed(err error) *VariableError {
	message := "not valid JSON"
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		message = "not valid JSON: a name occurs twice in one object"
	case errors.As(err, &syntactic):
		message = fmt.Sprintf("not valid JSON at byte %d", syntactic.ByteOffset)
	}
	return &VariableError{Message: message}
}
