package schema

import (
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/vektah/gqlparser/v2/ast"
)

// Kind says what a [Value] holds. The zero Kind is Absent: "not given", which
// is different from null everywhere in this program (DESIGN.md section 5).
type Kind uint8

// The kinds of value.
const (
	Absent Kind = iota
	Null
	Bool   // Text is "true" or "false"
	Int    // Text is a decimal integer without exponent or fraction
	Float  // Text is a JSON number, as written
	String // Text is the decoded string, valid UTF-8 without lone surrogates
	Enum   // Text is the enum value's name
	List   // Items
	Object // Members, in schema order for input objects, else as written
)

// Value is a coerced GraphQL input value: what the policy judges, what the
// cost model reads and what is forwarded are this one value. The zero Value is
// absent. Values are immutable once built and safe for concurrent use.
type Value struct {
	Kind    Kind
	Text    string
	Items   []Value
	Members []Member
}

// Member is one field of an Object value.
type Member struct {
	Name  string
	Value Value
	// Field is the input field's definition; nil inside a custom scalar.
	Field *ast.FieldDefinition
	// Defaulted is set where the client left the field out and Value is the
	// schema's default. Such members are judged but not forwarded.
	Defaulted bool
}

// Variables are the coerced variables of one request, indexed as
// Operation.Variables. A variable that was neither given nor has a default is
// Absent. The zero Variables has none.
type Variables struct {
	// Values has one entry for each of Operation.Variables (defaults applied).
	Values []Value
	// Given is true where the client supplied the variable (also as null);
	// only those are forwarded, in coerced form: the document carries defaults.
	Given []bool
}

// value returns variable i, Absent when there is none. A nil vars has none.
func (vars *Variables) value(i int32) Value {
	if vars == nil || int(i) >= len(vars.Values) {
		return Value{}
	}
	return vars.Values[i]
}

// Int64 returns an integral Int or Float (1e3, 2.0) that fits; ok is false for
// every other value.
func (v Value) Int64() (n int64, ok bool) {
	switch v.Kind {
	case Int:
		n, err := strconv.ParseInt(v.Text, 10, 64)
		if err != nil {
			return 0, false
		}
		return n, true
	case Float:
		f, ok := v.Float64()
		if !ok || f != math.Trunc(f) || f < -(1<<53) || f > 1<<53 {
			return 0, false
		}
		return int64(f), true
	}
	return 0, false
}

// Float64 returns a finite Int or Float; ok is false for every other value.
func (v Value) Float64() (f float64, ok bool) {
	if v.Kind != Int && v.Kind != Float {
		return 0, false
	}
	f, err := strconv.ParseFloat(v.Text, 64)
	return f, err == nil
}

// Bool returns a Bool's value; ok is false for every other kind.
func (v Value) Bool() (val, ok bool) {
	return v.Kind == Bool && v.Text == "true", v.Kind == Bool
}

// Member returns the member of an Object; ok is false when there is none.
func (v Value) Member(name string) (Value, bool) {
	for i := range v.Members {
		if v.Members[i].Name == name {
			return v.Members[i].Value, true
		}
	}
	return Value{}, false
}

// Equal reports whether both hold the same value: kind by kind, numbers as
// they are written, members in order. Whether a member is a default plays no part.
func (v Value) Equal(w Value) bool {
	if v.Kind != w.Kind || v.Text != w.Text || len(v.Items) != len(w.Items) || len(v.Members) != len(w.Members) {
		return false
	}
	for i := range v.Items {
		if !v.Items[i].Equal(w.Items[i]) {
			return false
		}
	}
	for i := range v.Members {
		if v.Members[i].Name != w.Members[i].Name || !v.Members[i].Value.Equal(w.Members[i].Value) {
			return false
		}
	}
	return true
}

// size is the number of values in v; 0 for Absent.
func (v Value) size() int {
	if v.Kind == Absent {
		return 0
	}
	n := 1
	for i := range v.Items {
		n += v.Items[i].size()
	}
	for i := range v.Members {
		n += v.Members[i].Value.size()
	}
	return n
}

// AppendJSON appends v as JSON. Absent is written as null, an enum value as a
// string, a number as it was written. Nothing is escaped that JSON does not
// require.
func (v Value) AppendJSON(dst []byte) []byte {
	return v.appendJSON(dst, false)
}

// appendJSON leaves out members that are defaults when given is set.
func (v Value) appendJSON(dst []byte, given bool) []byte {
	switch v.Kind {
	case Bool, Int, Float:
		return append(dst, v.Text...)
	case String, Enum:
		return appendQuoted(dst, v.Text)
	case List:
		dst = append(dst, '[')
		for i := range v.Items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = v.Items[i].appendJSON(dst, given)
		}
		return append(dst, ']')
	case Object:
		dst = append(dst, '{')
		first := true
		for i := range v.Members {
			m := &v.Members[i]
			if given && m.Defaulted {
				continue
			}
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = appendQuoted(dst, m.Name)
			dst = append(dst, ':')
			dst = m.Value.appendJSON(dst, given)
		}
		return append(dst, '}')
	}
	return append(dst, "null"...)
}

// appendQuoted appends s, valid UTF-8, as a JSON string.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' || c >= utf8.RuneSelf {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			const digits = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}
