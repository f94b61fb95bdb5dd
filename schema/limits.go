package schema

import "fmt"

// Limits bounds what Compile and Coerce accept. Zero means the default of
// [DefaultLimits], never "unlimited".
type Limits struct {
	Document   int // bytes
	Tokens     int
	Depth      int
	Aliases    int
	RootFields int
	Directives int
	Fragments  int // fragment definitions; operations are bounded by the same number
	ValueDepth int
	ListItems  int
	Walk       int // nodes, summed over operations and fragments; for Coerce, values in all
}

// DefaultLimits are DESIGN.md section 6's.
var DefaultLimits = Limits{
	Document: 64 << 10, Tokens: 4000, Depth: 15, Aliases: 60, RootFields: 20,
	Directives: 50, Fragments: 100, ValueDepth: 8, ListItems: 500, Walk: 50_000,
}

// LimitKind names the limit that a document broke.
type LimitKind uint8

// The limits, in the order in which they are checked.
const (
	LimitDocument LimitKind = iota + 1
	LimitTokens
	LimitNesting // brackets nested past what the parser takes
	LimitFragments
	LimitDepth
	LimitRootFields
	LimitAliases
	LimitDirectives
	LimitValue // value depth or list items
	LimitWalk
)

// LimitError says which limit was broken. Got is a lower bound where counting
// stopped early.
type LimitError struct {
	Kind     LimitKind
	Got, Max int
	Line     int // 1-based; 0 when the whole document is meant
	Column   int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s is %d, the limit is %d", e.Kind, e.Got, e.Max)
}

func (k LimitKind) String() string {
	return [...]string{"", "document size in bytes", "token count", "nesting", "fragment count", "depth",
		"root field count", "alias count", "directive count", "value size", "walk budget"}[k]
}

// ParseError is a document that is not GraphQL.
type ParseError struct {
	Message      string
	Line, Column int
}

func (e *ParseError) Error() string {
	return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message)
}

// ValidationError is a document that the schema does not admit. Rule is the
// specification's rule name as graphql-js spells it, such as FieldsOnCorrectType.
type ValidationError struct {
	Rule         string
	Message      string
	Line, Column int
}

func (e *ValidationError) Error() string {
	return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message)
}

// VariableError is a variable value that does not fit its type. Path is
// "$input.items[3].size".
type VariableError struct {
	Path    string
	Message string
	// Limit is set when a bound of [Limits] was hit and not the type system.
	Limit bool
}

func (e *VariableError) Error() string { return e.Path + ": " + e.Message }

// orDefaults fills in what is zero from DefaultLimits.
func (l Limits) orDefaults() Limits {
	fill := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	fill(&l.Document, DefaultLimits.Document)
	fill(&l.Tokens, DefaultLimits.Tokens)
	fill(&l.Depth, DefaultLimits.Depth)
	fill(&l.Aliases, DefaultLimits.Aliases)
	fill(&l.RootFields, DefaultLimits.RootFields)
	fill(&l.Directives, DefaultLimits.Directives)
	fill(&l.Fragments, DefaultLimits.Fragments)
	fill(&l.ValueDepth, DefaultLimits.ValueDepth)
	fill(&l.ListItems, DefaultLimits.ListItems)
	fill(&l.Walk, DefaultLimits.Walk)
	return l
}
