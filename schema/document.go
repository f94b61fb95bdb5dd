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
	args []Argument
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

// spreadRef is a named spread: the node, and whether its fields merge into
// its definition's root selection set.
type spreadRef struct {
	node int32
	top  bool
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

func (d *definition) selectionSet() ast.SelectionSet {
	if d.op != nil {
		return d.op.SelectionSet
	}
	return d.frag.SelectionSet
}

// index lays the document out as nodes and takes each definition's own
// measures. It follows no spread.
func (c *compiler) index(doc *ast.QueryDocument) error {
	if n := len(doc.Fragments); n > c.limits.Fragments {
		return limitAt(LimitFragments, n, c.limits.Fragments, doc.Fragments[c.limits.Fragments].Position)
	}
	if n := len(doc.Operations); n > c.limits.Fragments {
		return limitAt(LimitFragments, n, c.limits.Fragments, doc.Operations[c.limits.Fragments].Position)
	}
	for i, f := range doc.Fragments {
		if f.VariableDefinition != nil {
			return parseErrorAt(f.Position, "fragments take no variables")
		}
		if _, ok := c.fragments[f.Name]; !ok {
			c.fragments[f.Name] = int32(i)
		}
	}
	c.fragmentCount = len(doc.Fragments)
	for _, f := range doc.Fragments {
		c.defs = append(c.defs, definition{frag: f})
	}
	for _, op := range doc.Operations {
		c.defs = append(c.defs, definition{op: op})
	}
	for i := range c.defs {
		if err := c.indexDefinition(&c.defs[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *compiler) indexDefinition(d *definition) error {
	d.start, d.spreads = int32(len(c.nodes)), int32(len(c.spreads))
	c.own = measures{}
	c.weight = 1
	if d.op != nil {
		c.measureDirectives(d.op.Directives)
		for _, v := range d.op.VariableDefinitions {
			c.weight++
			if hasVariable(v.Directives) {
				return parseErrorAt(v.Position, "a variable definition's directives take no variables")
			}
			c.measureDirectives(v.Directives)
			if v.DefaultValue != nil {
				c.measureValue(v.DefaultValue, 0)
			}
		}
	} else {
		c.measureDirectives(d.frag.Directives)
	}
	if err := c.indexSet(d.selectionSet(), 1, true); err != nil {
		return err
	}
	d.end, d.spreadEnd = int32(len(c.nodes)), int32(len(c.spreads))
	d.total, d.weight = c.own, c.weight
	d.total.weight = c.weight
	return nil
}

// indexSet recurses as deep as selection sets nest, which scan bounds.
func (c *compiler) indexSet(set ast.SelectionSet, depth int, top bool) error {
	for _, sel := range set {
		i := len(c.nodes)
		c.weight++
		var err error
		switch sel := sel.(type) {
		case *ast.Field:
			c.nodes = append(c.nodes, node{kind: nodeField, depth: int32(depth), key: c.key(sel.Alias), field: sel})
			c.own.field(depth, c.aliased(sel), top)
			c.measureArguments(sel.Arguments)
			c.measureDirectives(sel.Directives)
			err = c.indexSet(sel.SelectionSet, depth+1, false)
		case *ast.InlineFragment:
			// gqlparser takes a string for the keyword: ..."on" T {}.
			const keyword = len("on")
			if sel.TypeCondition != "" && sel.Position.End-sel.Position.Start != keyword {
				return parseErrorAt(sel.Position, `expected "on", a fragment name or a selection set`)
			}
			c.nodes = append(c.nodes, node{kind: nodeInline, depth: int32(depth), inline: sel})
			c.own.depth = max(c.own.depth, depth)
			c.measureDirectives(sel.Directives)
			err = c.indexSet(sel.SelectionSet, depth+1, top)
		case *ast.FragmentSpread:
			target, ok := c.fragments[sel.Name]
			if !ok {
				target = -1
			}
			c.nodes = append(c.nodes, node{kind: nodeSpread, depth: int32(depth), spread: sel, fragment: target})
			c.spreads = append(c.spreads, spreadRef{node: int32(i), top: top})
			c.measureDirectives(sel.Directives)
		}
		if err != nil {
			return err
		}
		c.nodes[i].end = int32(len(c.nodes))
	}
	return nil
}

func (c *compiler) measureArguments(args ast.ArgumentList) {
	for _, a := range args {
		c.weight++
		c.measureValue(a.Value, 0)
	}
}

func (c *compiler) measureDirectives(list ast.DirectiveList) {
	c.own.directives += len(list)
	for _, d := range list {
		c.weight++
		c.measureArguments(d.Arguments)
	}
}

// measureValue recurses as deep as values nest, which scan bounds.
func (c *compiler) measureValue(v *ast.Value, depth int) {
	c.weight++
	switch v.Kind {
	case ast.ListValue:
		c.own.listItems = max(c.own.listItems, len(v.Children))
	case ast.ObjectValue:
	default:
		return
	}
	c.own.valueDepth = max(c.own.valueDepth, depth+1)
	for _, child := range v.Children {
		c.measureValue(child.Value, depth+1)
	}
}

func hasVariable(list ast.DirectiveList) bool {
	for _, d := range list {
		for _, a := range d.Arguments {
			if containsVariable(a.Value) {
				return true
			}
		}
	}
	return false
}

// key numbers the document's response keys.
func (c *compiler) key(alias string) int32 {
	k, ok := c.keys[alias]
	if !ok {
		k = int32(len(c.keys))
		c.keys[alias] = k
	}
	return k
}

func containsVariable(v *ast.Value) bool {
	for _, child := range v.Children {
		if containsVariable(child.Value) {
			return true
		}
	}
	return v.Kind == ast.Variable
}
