package schema

import "github.com/vektah/gqlparser/v2/ast"

// Operation is one compiled, validated operation: the chosen operation of a
// document with the fragments that it reaches. It is immutable and safe for
// concurrent use; it depends on the schema and the document only, never on
// variables or identity.
type Operation struct {
	Schema *Schema
	Kind   ast.Operation // query, mutation, subscription
	Name   string        // empty when anonymous

	// Text is the canonical document: the chosen operation, then the fragments
	// that it reaches, printed from the AST that was judged. It is what is
	// forwarded. Hash is the SHA-256 of Text.
	Text string
	Hash [32]byte

	Shape     Shape
	Variables []Variable

	// Uses lists the distinct field uses, parents before children. A field
	// inside a fragment appears once for each distinct set of possible parent
	// types under which it is reached, not once for each path.
	Uses []FieldUse

	// Conditions is the DAG of @skip/@include conditions that FieldUse.Cond
	// indexes; entry 0 is "always". Each refers only to earlier entries.
	Conditions []Condition

	// Definition and Fragments are the judged AST (fragments in order of first
	// use), with Field.Definition, Field.ObjectDefinition,
	// FragmentSpread.Definition, Value.Definition, Value.ExpectedType and
	// Value.VariableDefinition filled in. Read only.
	Definition *ast.OperationDefinition
	Fragments  ast.FragmentDefinitionList

	size int
	sole bool // the document holds no other operation
	// canonical: Hash is also the digest of the canonical form.
	canonical bool
}

// Size estimates, in bytes, what holding the operation keeps from the garbage
// collector: its text, its tree and its uses. The schema is not in it.
func (op *Operation) Size() int { return op.size }

// Shape holds the measures that limits are checked against; all are counted
// on the expanded operation with saturating arithmetic unless said otherwise.
type Shape struct {
	Depth      int // fields and inline fragments; named spreads are transparent; a root field has depth 1
	Aliases    int // written aliases, also those that are the field's own name
	RootFields int
	Directives int
	Tokens     int // of the whole document, as lexed
	Fragments  int // fragment definitions in the document
	ValueDepth int
	ListItems  int // the longest list literal
	Fields     int // field selections, expanded
	// Introspection is true if __schema, __type or _service{sdl} is selected anywhere.
	Introspection bool
}

// Variable is one variable definition.
type Variable struct {
	Name       string
	Definition *ast.VariableDefinition
	// Default is the coerced default; Absent when there is none.
	Default Value

	// nesting is how many lists and objects of a literal stand around the
	// variable at most; uses is in how many places of the document it stands.
	nesting, uses int
	// named is the input type inside the variable's.
	named *inputType
}

// FieldUse is one distinct use of a field.
type FieldUse struct {
	// Field is the selection; Field.Definition is set (also for __typename,
	// __schema and __type, whose meta definitions are synthesised).
	Field *ast.Field
	// Parent is the type that the field is selected on: object, interface or
	// union (the latter for __typename only).
	Parent *ast.Definition
	// Objects is the set of object types that the parent value may have here:
	// Parent's possible types intersected with every enclosing type condition.
	Objects TypeSet
	// Args has one entry for each argument that the field's definition
	// declares, in that order. Arguments that the client left out are present
	// here, with their default or Absent; they are the schema's, shared by all.
	Args []*Argument
	// Cond indexes Operation.Conditions: the use is live when it holds.
	Cond int32
	// Up indexes Uses: the (first) parent selection; -1 at the root.
	Up int32

	info *fieldInfo
}

// Argument is an argument of a field use.
type Argument struct {
	Definition *ast.ArgumentDefinition
	// Literal is the AST value that the client wrote; nil when it was omitted.
	Literal *ast.Value
	// Const is the coerced value when Literal holds no variable (Absent when
	// omitted and without default). Dynamic says that Resolve must be asked.
	// When Dynamic, Const is the argument's default (or Absent).
	Const   Value
	Dynamic bool
	// template is the coerced literal with references in the place of variables; set when
	// Dynamic. It is apart because fields declare many arguments and clients give few.
	template *Value
}

// Condition is true when Var (an index into Operation.Variables, -1: none) has
// the boolean value Want and, if Any is not empty, at least one of Any holds.
// It never holds when Never is set. Constant @skip/@include are folded away.
type Condition struct {
	Never bool
	Var   int32
	Want  bool
	Any   []int32
}
