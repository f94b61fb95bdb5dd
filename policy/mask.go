package policy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"
	gql "github.com/vektah/gqlparser/v2/ast"
)

// Mask replaces the value of a denied position: a value of the policy's, or a
// function of the library (data.graphward.lib.mask) that is applied to the value
// in the answer. Immutable; safe for concurrent use.
type Mask struct {
	// Value is the JSON to put in place; nil where Function is set.
	Value []byte
	// Whole says that Value is a list that stands for the whole position, the
	// field's type being a list; else the mask is for each leaf in the lists.
	Whole bool
	// Function names one of the library's mask functions; "" for a value.
	Function string
	// Arguments are the function's, in order, as JSON.
	Arguments [][]byte

	key   []byte // of hash
	int32 bool   // the result must be one of GraphQL's Int
}

// MaskError is a value in an answer that a mask function cannot be applied to.
// It holds nothing of the value.
type MaskError struct {
	Function string
	Reason   string
}

func (e *MaskError) Error() string { return "mask " + e.Function + ": " + e.Reason }

// hidden stands for what a mask function leaves out. Its length is always the
// same, since the length of what is hidden can tell what it was.
const hidden = "****"

// MinMaskKey is the least length of the key of hash masks, in bytes.
const MinMaskKey = 16

// Limits of the functions' arguments.
const (
	maxKept   = 1000
	maxDigits = 15 // as many as a float64 can hold
)

// Append appends the masked form of one leaf, a JSON value, to dst. A function
// leaves null as it is; a Value replaces null too. An error, a *MaskError, means
// that the leaf does not fit the function: the position becomes null, with an
// error.
func (m *Mask) Append(dst, leaf []byte) ([]byte, error) {
	if m.Function == "" {
		return append(dst, m.Value...), nil
	}
	if string(leaf) == "null" {
		return append(dst, leaf...), nil
	}
	f, ok := maskFunctions[m.Function]
	if !ok || len(m.Arguments) != f.arity {
		return dst, m.failed("there is no such function")
	}
	if f.number != nil {
		return f.number(m, dst, leaf)
	}
	text, ok := leafText(leaf)
	if !ok {
		return dst, m.failed("the value is not a string")
	}
	masked, err := f.text(m, text)
	if err != nil {
		return dst, err
	}
	out, err := jsontext.AppendQuote(dst, masked)
	if err != nil {
		return dst, m.failed("the value is not text")
	}
	return out, nil
}

func (m *Mask) failed(format string, args ...any) error {
	return &MaskError{Function: m.Function, Reason: fmt.Sprintf(format, args...)}
}

// leafText returns the text of a string, or of an integer, as which servers may
// write an ID.
func leafText(leaf []byte) (string, bool) {
	switch jsontext.Value(leaf).Kind() {
	case '"':
		text, err := jsontext.AppendUnquote(nil, leaf)
		return string(text), err == nil
	case '0':
		return string(leaf), integral(leaf)
	}
	return "", false
}

func integral(number []byte) bool {
	return !slices.ContainsFunc(number, func(c byte) bool { return c == '.' || c == 'e' || c == 'E' })
}

// maskFunction is one function of the library; either text or number is set.
type maskFunction struct {
	arity  int
	text   func(m *Mask, s string) (string, error)
	number func(m *Mask, dst, leaf []byte) ([]byte, error)
	// check judges the arguments; nil where there are none.
	check func(m *Mask) error
	// types are the built-in scalars that it fits, beside custom ones.
	types []string
}

var maskFunctions = map[string]maskFunction{
	"keep_first": {arity: 1, text: (*Mask).keepFirst, check: (*Mask).checkKept, types: []string{"String", "ID"}},
	"keep_last":  {arity: 1, text: (*Mask).keepLast, check: (*Mask).checkKept, types: []string{"String", "ID"}},
	"hash":       {text: (*Mask).hash, check: (*Mask).checkKey, types: []string{"String", "ID"}},
	"email":      {text: (*Mask).email, types: []string{"String", "ID"}},
	"redact":     {text: (*Mask).redact, types: []string{"String", "ID"}},
	"date":       {arity: 1, text: (*Mask).date, check: (*Mask).checkPrecision, types: []string{"String"}},
	"round":      {arity: 1, number: (*Mask).round, check: (*Mask).checkDigits, types: []string{"Int", "Float"}},
}

// argument returns the first argument as an integer.
func (m *Mask) argument() (int, bool) {
	n, err := strconv.Atoi(string(m.Arguments[0]))
	return n, err == nil
}

func (m *Mask) checkKept() error {
	if n, ok := m.argument(); !ok || n < 0 || n > maxKept {
		return m.failed("%s is not a number of characters from 0 to %d", m.Arguments[0], maxKept)
	}
	return nil
}

func (m *Mask) checkDigits() error {
	if n, ok := m.argument(); !ok || n < -maxDigits || n > maxDigits {
		return m.failed("%s is not a number of digits from %d to %d", m.Arguments[0], -maxDigits, maxDigits)
	}
	return nil
}

func (m *Mask) checkKey() error {
	if len(m.key) < MinMaskKey {
		return m.failed("it needs a key of at least %d bytes (policy.mask_key_file)", MinMaskKey)
	}
	return nil
}

func (m *Mask) checkPrecision() error {
	switch string(m.Arguments[0]) {
	case `"year"`, `"month"`, `"day"`:
		return nil
	}
	return m.failed(`%s is not "year", "month" or "day"`, m.Arguments[0])
}

// keepFirst and keepLast hide all of a text that is not longer than what may be
// kept, so that a short one is not shown whole.
func (m *Mask) keepFirst(s string) (string, error) {
	n, _ := m.argument()
	if utf8.RuneCountInString(s) <= n {
		return hidden, nil
	}
	at := 0
	for range n {
		_, size := utf8.DecodeRuneInString(s[at:])
		at += size
	}
	return s[:at] + hidden, nil
}

func (m *Mask) keepLast(s string) (string, error) {
	n, _ := m.argument()
	if utf8.RuneCountInString(s) <= n {
		return hidden, nil
	}
	at := len(s)
	for range n {
		_, size := utf8.DecodeLastRuneInString(s[:at])
		at -= size
	}
	return hidden + s[at:], nil
}

func (m *Mask) redact(string) (string, error) { return hidden, nil }

// hash is HMAC-SHA-256 in lower-case hex: equal values stay equal, in all
// fields, and cannot be found by trying values without the key.
func (m *Mask) hash(s string) (string, error) {
	if err := m.checkKey(); err != nil {
		return "", err
	}
	h := hmac.New(sha256.New, m.key)
	h.Write([]byte(s))
	return hex.EncodeToString(h.Sum(nil)), nil
}

// email keeps the domain, and the first character of a local part that has at
// least three.
func (m *Mask) email(s string) (string, error) {
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at == len(s)-1 {
		return "", m.failed("the value is not an address")
	}
	kept := ""
	if local := s[:at]; utf8.RuneCountInString(local) >= 3 {
		_, size := utf8.DecodeRuneInString(local)
		kept = local[:size]
	}
	return kept + hidden + s[at:], nil
}

// date sets what is finer than the precision to its beginning, in the value's
// own offset: 2026-03-15T20:10:00+01:00 by month is 2026-03-01T00:00:00+01:00.
func (m *Mask) date(s string) (string, error) {
	const day = len("2006-01-02")
	date := s[:min(day, len(s))]
	if _, err := time.Parse(time.DateOnly, date); err != nil {
		return "", m.failed("the value is not a date")
	}
	switch string(m.Arguments[0]) {
	case `"year"`:
		date = date[:4] + "-01-01"
	case `"month"`:
		date = date[:7] + "-01"
	}
	if len(s) == day {
		return date, nil
	}
	zone := ""
	if _, err := time.Parse("2006-01-02T15:04:05", s); err != nil {
		if _, err := time.Parse(time.RFC3339, s); err != nil {
			return "", m.failed("the value is not a date and time")
		}
		zone = s[strings.LastIndexAny(s, "Z+-"):]
	}
	return date + "T00:00:00" + zone, nil
}

// round rounds to a number of decimal places; negative ones are tens.
func (m *Mask) round(dst, leaf []byte) ([]byte, error) {
	if jsontext.Value(leaf).Kind() != '0' {
		return dst, m.failed("the value is not a number")
	}
	x, err := strconv.ParseFloat(string(leaf), 64)
	if err != nil {
		return dst, m.failed("the value is out of range")
	}
	digits, _ := m.argument()
	if digits >= 0 {
		if integral(leaf) {
			return append(dst, leaf...), nil
		}
		text := strconv.FormatFloat(x, 'f', digits, 64)
		if strings.Contains(text, ".") {
			text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
		}
		if text == "-0" {
			text = "0" // the sign would tell more than the digits asked for
		}
		return append(dst, text...), nil
	}
	scale := math.Pow10(-digits)
	if x = math.Round(x/scale)*scale + 0; m.int32 && (x < math.MinInt32 || x > math.MaxInt32) {
		return dst, m.failed("the rounded value is out of Int's range")
	}
	return strconv.AppendFloat(dst, x, 'f', -1, 64), nil
}

// maskKey is the one member of the objects by which the library's functions
// say what they are; see rego/lib/mask.rego.
const maskKey = "graphward.mask"

// maskable reports why no field of type t can be masked; nil if one can.
func maskable(s *gql.Schema, t *gql.Type) error {
	def := s.Types[t.Name()]
	if def == nil || def.Kind != gql.Scalar && def.Kind != gql.Enum {
		return fmt.Errorf("only scalars, enums and lists of them can be masked, and this is %s", t)
	}
	return nil
}

// newMask makes the mask that a rule's value v means for a field of type t. key
// is that of hash; nil when there is none. The error says why v does not fit.
func newMask(s *gql.Schema, t *gql.Type, v ast.Value, key []byte) (*Mask, error) {
	if err := maskable(s, t); err != nil {
		return nil, err
	}
	if call, ok := functionOf(v); ok {
		return newMaskFunction(s, t, call, key)
	}
	m := &Mask{}
	var err error
	if m.Value, err = appendTerm(nil, v); err != nil {
		return nil, err
	}
	if _, list := v.(*ast.Array); list && t.Elem != nil {
		m.Whole = true
		return m, fitsList(s, t, v)
	}
	for t.Elem != nil {
		t = t.Elem
	}
	return m, fitsLeaf(s, t, v)
}

// functionOf returns what a function of the library returned.
func functionOf(v ast.Value) (ast.Object, bool) {
	o, ok := v.(ast.Object)
	if !ok || o.Len() != 1 {
		return nil, false
	}
	t := o.Get(ast.StringTerm(maskKey))
	if t == nil {
		return nil, false
	}
	call, ok := t.Value.(ast.Object)
	return call, ok
}

func newMaskFunction(s *gql.Schema, t *gql.Type, call ast.Object, key []byte) (*Mask, error) {
	m := &Mask{key: key}
	if name := call.Get(ast.StringTerm("function")); name != nil {
		text, _ := name.Value.(ast.String)
		m.Function = string(text)
	}
	if list := call.Get(ast.StringTerm("arguments")); list != nil {
		arguments, _ := list.Value.(*ast.Array)
		for i := range arguments.Len() {
			text, err := appendTerm(nil, arguments.Elem(i).Value)
			if err != nil {
				return nil, err
			}
			m.Arguments = append(m.Arguments, text)
		}
	}
	f, ok := maskFunctions[m.Function]
	if !ok || len(m.Arguments) != f.arity {
		return nil, fmt.Errorf("%s with %d arguments is not a mask function", strconv.Quote(m.Function), len(m.Arguments))
	}
	if f.check != nil {
		if err := f.check(m); err != nil {
			return nil, err
		}
	}
	if def := s.Types[t.Name()]; def.Kind == gql.Enum || builtinScalar(def.Name) && !slices.Contains(f.types, def.Name) {
		return nil, m.failed("it cannot be applied to %s", t)
	}
	m.int32 = t.Name() == "Int"
	return m, nil
}

// fitsList holds a list, and the lists in it, against a list type.
func fitsList(s *gql.Schema, t *gql.Type, v ast.Value) error {
	list, ok := v.(*ast.Array)
	switch {
	case t.Elem == nil:
		return fitsLeaf(s, t, v)
	case ast.Null{}.Equal(v) && !t.NonNull:
		return nil
	case !ok:
		return fmt.Errorf("%s is not a value of %s", v, t)
	}
	for i := range list.Len() {
		if err := fitsList(s, t.Elem, list.Elem(i).Value); err != nil {
			return err
		}
	}
	return nil
}

// fitsLeaf holds a value against a scalar or enum type, as the specification's
// result coercion has it (section 3.5, 3.9); custom scalars take any value.
func fitsLeaf(s *gql.Schema, t *gql.Type, v ast.Value) error {
	var ok bool
	number, isNumber := v.(ast.Number)
	text, isText := v.(ast.String)
	def := s.Types[t.Name()]
	switch {
	case ast.Null{}.Equal(v):
		ok = !t.NonNull
	case def.Kind == gql.Enum:
		ok = isText && def.EnumValues.ForName(string(text)) != nil
	case def.Name == "Int":
		n, whole := number.Int64()
		ok = isNumber && whole && n >= math.MinInt32 && n <= math.MaxInt32
	case def.Name == "Float":
		ok = isNumber
	case def.Name == "String":
		ok = isText
	case def.Name == "ID":
		_, whole := number.Int64()
		ok = isText || isNumber && whole
	case def.Name == "Boolean":
		_, ok = v.(ast.Boolean)
	default:
		ok = true
	}
	if !ok {
		return fmt.Errorf("%s is not a value of %s", v, t)
	}
	return nil
}

// appendTerm appends a Rego value as JSON. Sets and objects with other keys than
// strings have no JSON.
func appendTerm(dst []byte, v ast.Value) (_ []byte, err error) {
	switch v := v.(type) {
	case ast.Null:
		return append(dst, "null"...), nil
	case ast.Boolean:
		return strconv.AppendBool(dst, bool(v)), nil
	case ast.Number:
		return append(dst, v...), nil
	case ast.String:
		return jsontext.AppendQuote(dst, string(v))
	case *ast.Array:
		dst = append(dst, '[')
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendTerm(dst, v.Elem(i).Value); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	case ast.Object:
		return appendObject(dst, v)
	}
	return dst, fmt.Errorf("%s has no form in JSON", v)
}

func appendObject(dst []byte, o ast.Object) (_ []byte, err error) {
	dst = append(dst, '{')
	for i, key := range o.Keys() {
		name, ok := key.Value.(ast.String)
		if !ok {
			return dst, fmt.Errorf("%s has no form in JSON", o)
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = jsontext.AppendQuote(dst, string(name)); err != nil {
			return dst, err
		}
		if dst, err = appendTerm(append(dst, ':'), o.Get(key).Value); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}
