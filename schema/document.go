package schema

import "github.com/vektah/gqlparser/v2/ast"

// nodeKind is the kind of a selection.
type nodeKind uint8

const (
	nodeField nodeKind = iota
	nodeInline
	nodeSpread
)

// node is a selection. The nodes of a document lie in one slice in document
// order, so that a selection set is a range: the first child of node i is i+1,
// the next sibling of i is nodes[i].end.
type node struct {
	kind     nodeKind
	depth    int32 // within its definition: selections of the root set have 1
	end      int32
	key      int32 // of a field: numbers its response key
	fragment int32 // of a spread: index of its definition; -1 when there is none

	field  *ast.Field
	inline *ast.InlineFragment
	spread *ast.FragmentSpread

	// Set by validation.
	parent *typeInfo  // the type that the selection stands on
	info   *fieldInfo // of a field
	typ    *typeInfo  // the type that the node's own selection set stands on

	// args memoises FieldUse.Args for uses.
	args []*Argument
}

func (n *node) position() *ast.Position {
	switch n.kind {
	case nodeField:
		return n.field.Position
	case nodeInline:
		return n.inline.Position
	}
	return n.spread.Position
}

func (n *node) directives() ast.DirectiveList {
	switch n.kind {
	case nodeField:
		return n.field.Directives
	case nodeInline:
		return n.inline.Directives
	}
	return n.spread.Directives
}

// spreadRef is a named spread: the node, the index of the fragment's definition
// or -1, and whether its fields merge into its definition's root selection set.
type spreadRef struct {
	node, fragment int32
	top            bool
}

// definition is an operation or a fragment of the document. Fragments come first.
type definition struct {
	op   *ast.OperationDefinition
	frag *ast.FragmentDefinition

	start, end         int32 // nodes
	spreads, spreadEnd int32 // compiler.spreads
	usages, usageEnd   int32 // compiler.usages
	weight             int   // AST nodes: selections, arguments, directives, values

	typ *typeInfo
	// total is the measures of what the definition expands to; the fragments
	// that it spreads are in it.
	total measures
	// lists is the deepest nesting of introspection lists.
	lists         int
	introspection bool
	used          bool  // by an operation
	stamp         int32 // the walk that saw it last
	state         uint8 // of the search for cycles
}

func (d *definition) position() *ast.Position {
	if d.op != nil {
		return d.op.Position
	}
	return d.frag.Position
}
