package schema

import "github.com/vektah/gqlparser/v2/ast"

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
