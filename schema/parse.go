package schema

import (
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
)

// treeParser makes the tree of a document out of its tokens, in gqlparser's types,
// and with it the compiler's nodes and each definition's own measures. It
// accepts the executable documents of the specification's grammar (appendix B),
// with descriptions; gqlparser, which it is tested against, accepts more.
//
// It recurses as deep as brackets nest, which the lexer bounds. After an error it
// stands at the end of the document, so that every loop ends.
type treeParser struct {
	c    *compiler
	lex  *tokenizer
	next int
	err  error

	// What the innermost lists hold so far: each takes from its end.
	selections []ast.Selection
	arguments  []*ast.Argument
	directives []*ast.Directive
	children   []*ast.ChildValue

	tree tree
}

// tree is the memory of one document's tree.
type tree struct {
	fields         slab[located[ast.Field]]
	inlines        slab[located[ast.InlineFragment]]
	spreads        slab[located[ast.FragmentSpread]]
	arguments      slab[located[ast.Argument]]
	values         slab[located[ast.Value]]
	children       slab[located[ast.ChildValue]]
	directives     slab[located[ast.Directive]]
	types          slab[located[ast.Type]]
	variables      slab[located[ast.VariableDefinition]]
	selections     slab[ast.Selection]
	argumentLists  slab[*ast.Argument]
	directiveLists slab[*ast.Directive]
	childLists     slab[*ast.ChildValue]
}

// located is a part of the tree with the place that it points to.
type located[T any] struct {
	part T
	at   ast.Position
}

// place returns the part and its place, which is that of a token. Offsets are in bytes.
func (l *located[T]) place(t *token) (*T, *ast.Position) {
	l.at = ast.Position{Start: int(t.start), End: int(t.end), Line: int(t.line), Column: int(t.column)}
	return &l.part, &l.at
}

func position(t *token) *ast.Position {
	return &ast.Position{Start: int(t.start), End: int(t.end), Line: int(t.line), Column: int(t.column)}
}

// release forgets the tree, which the operation holds, and keeps the stacks.
func (p *treeParser) release() {
	p.selections, p.arguments = emptied(p.selections), emptied(p.arguments)
	p.directives, p.children = emptied(p.directives), emptied(p.children)
	p.c, p.lex, p.next, p.err, p.tree = nil, nil, 0, nil, tree{}
}

// emptied is a stack to use again, with nothing left in it. A large one is let go.
func emptied[T any](stack []T) []T {
	const kept = 512
	if cap(stack) > kept {
		return nil
	}
	clear(stack[:cap(stack)])
	return stack[:0]
}

// document parses all definitions. Operations and fragments are each in the
// order of the document; the spreads' nodes do not yet know their fragments.
func (p *treeParser) document(c *compiler) error {
	p.c, p.lex = c, &c.lexer
	p.tree.fields.expect(max(p.lex.fields, 1))
	p.tree.selections.expect(max(p.lex.fields, 1))
	for p.peek().kind != tokenEnd {
		p.definition()
	}
	if p.err == nil && len(c.defs) == 0 {
		p.err = &ParseError{Message: "the document is empty", Line: 1, Column: 1}
	}
	return p.err
}

// peek returns the next token; at the end again and again that of the end.
func (p *treeParser) peek() *token { return &p.lex.tokens[p.next] }

// take returns the next token and goes on to the one after.
func (p *treeParser) take() *token {
	t := p.peek()
	if t.kind != tokenEnd {
		p.next++
	}
	return t
}

// skip takes the next token if it is of the kind.
func (p *treeParser) skip(kind tokenKind) bool {
	if p.peek().kind != kind {
		return false
	}
	p.take()
	return true
}

// keyword takes the next token if it is the name word.
func (p *treeParser) keyword(word string) bool {
	if t := p.peek(); t.kind != tokenName || p.lex.text(t) != word {
		return false
	}
	p.take()
	return true
}

func (p *treeParser) expect(kind tokenKind, what string) {
	if !p.skip(kind) {
		p.fail("expected " + what)
	}
}

func (p *treeParser) name() string {
	if t := p.peek(); t.kind == tokenName {
		p.next++
		return p.lex.text(t)
	}
	p.fail("expected a name")
	return ""
}

// fail ends parsing with an error at the next token.
func (p *treeParser) fail(message string) {
	if p.err != nil {
		return
	}
	t := p.peek()
	found := "the end of the document"
	if t.kind != tokenEnd {
		found = quoted(p.lex.src[t.start:t.end])
	}
	p.err = &ParseError{Message: message + ", found " + found, Line: int(t.line), Column: int(t.column)}
	p.next = len(p.lex.tokens) - 1
}

func (p *treeParser) definition() {
	described := p.skip(tokenString)
	d := p.c.begin()
	switch t := p.peek(); {
	case t.kind == '{' && !described:
		d.op = &ast.OperationDefinition{Operation: ast.Query, Position: position(t)}
		d.op.SelectionSet = p.selectionSet(1, true)
	case t.kind != tokenName:
		p.fail("expected a definition")
	case p.keyword("fragment"):
		d.frag = p.fragment(t)
	default:
		d.op = p.operation(t)
	}
	if p.err == nil {
		p.c.end(d)
	}
}

func (p *treeParser) operation(t *token) *ast.OperationDefinition {
	op := &ast.OperationDefinition{Position: position(t)}
	switch kind := ast.Operation(p.lex.text(t)); kind {
	case ast.Query, ast.Mutation, ast.Subscription:
		op.Operation = kind
		p.take()
	default:
		p.fail("expected a definition")
	}
	if p.peek().kind == tokenName {
		op.Name = p.name()
	}
	op.VariableDefinitions = p.variables()
	op.Directives = p.directiveList(false)
	op.SelectionSet = p.selectionSet(1, true)
	return op
}

func (p *treeParser) fragment(t *token) *ast.FragmentDefinition {
	f := &ast.FragmentDefinition{Position: position(t), Name: p.fragmentName()}
	if p.peek().kind == '(' {
		p.fail("fragments take no variables: expected \"on\"")
	}
	if !p.keyword("on") {
		p.fail(`expected "on"`)
	}
	f.TypeCondition = p.name()
	f.Directives = p.directiveList(false)
	f.SelectionSet = p.selectionSet(1, true)
	return f
}

func (p *treeParser) fragmentName() string {
	if t := p.peek(); t.kind == tokenName && p.lex.text(t) == "on" {
		p.fail("expected a fragment name")
	}
	return p.name()
}

func (p *treeParser) variables() ast.VariableDefinitionList {
	if !p.skip('(') {
		return nil
	}
	var list ast.VariableDefinitionList
	for more := true; more; more = p.more(')') {
		list = append(list, p.variableDefinition())
	}
	return list
}

// more reports whether a list goes on that needs at least one item, and takes
// the bracket that ends it.
func (p *treeParser) more(end tokenKind) bool { return !p.skip(end) && p.err == nil }

func (p *treeParser) variableDefinition() *ast.VariableDefinition {
	p.skip(tokenString)
	v, at := p.tree.variables.one().place(p.peek())
	v.Position = at
	p.c.weight++
	p.expect('$', "a variable")
	v.Variable = p.name()
	p.expect(':', `":"`)
	v.Type = p.typeReference()
	if p.skip('=') {
		v.DefaultValue = p.value(true, 0)
	}
	v.Directives = p.directiveList(true)
	return v
}

func (p *treeParser) typeReference() *ast.Type {
	list := p.skip('[')
	t, at := p.tree.types.one().place(p.peek())
	t.Position = at
	if list {
		t.Elem = p.typeReference()
		p.expect(']', `"]"`)
	} else {
		t.NamedType = p.name()
	}
	t.NonNull = p.skip('!')
	return t
}

// selectionSet parses selections of depth depth. top says that they are of the
// definition's root set.
func (p *treeParser) selectionSet(depth int, top bool) ast.SelectionSet {
	p.expect('{', `"{"`)
	base := len(p.selections)
	for more := p.err == nil; more; more = p.more('}') {
		i := len(p.c.nodes)
		p.c.weight++
		sel := p.selection(depth, top)
		p.selections = append(p.selections, sel)
		p.c.nodes[i].end = int32(len(p.c.nodes))
	}
	set := p.tree.selections.copied(p.selections[base:])
	p.selections = p.selections[:base]
	return set
}

func (p *treeParser) selection(depth int, top bool) ast.Selection {
	if !p.skip(tokenSpread) {
		return p.field(depth, top)
	}
	t := p.peek()
	if t.kind == tokenName && p.lex.text(t) != "on" {
		return p.spread(t, depth, top)
	}
	f, at := p.tree.inlines.one().place(t)
	f.Position = at
	p.c.nodes = append(p.c.nodes, node{kind: nodeInline, depth: int32(depth), inline: f})
	p.c.own.depth = max(p.c.own.depth, depth)
	if p.keyword("on") {
		f.TypeCondition = p.name()
	}
	f.Directives = p.directiveList(false)
	f.SelectionSet = p.selectionSet(depth+1, top)
	return f
}

func (p *treeParser) spread(t *token, depth int, top bool) ast.Selection {
	f, at := p.tree.spreads.one().place(t)
	f.Position = at
	p.c.spreads = append(p.c.spreads, spreadRef{node: int32(len(p.c.nodes)), top: top})
	p.c.nodes = append(p.c.nodes, node{kind: nodeSpread, depth: int32(depth), spread: f, fragment: -1})
	f.Name = p.name()
	f.Directives = p.directiveList(false)
	return f
}

func (p *treeParser) field(depth int, top bool) ast.Selection {
	f, at := p.tree.fields.one().place(p.peek())
	f.Position = at
	f.Alias = p.name()
	f.Name = f.Alias
	aliased := p.skip(':')
	if aliased {
		f.Name = p.name()
	}
	key, _ := p.c.keys.Number(f.Alias)
	p.c.nodes = append(p.c.nodes, node{kind: nodeField, depth: int32(depth), key: key, field: f})
	p.c.own.field(depth, aliased, top)
	f.Arguments = p.argumentList(false)
	f.Directives = p.directiveList(false)
	if p.peek().kind == '{' {
		f.SelectionSet = p.selectionSet(depth+1, false)
	}
	return f
}

// argumentList parses arguments, if there are any. constant: their values hold
// no variables.
func (p *treeParser) argumentList(constant bool) ast.ArgumentList {
	if !p.skip('(') {
		return nil
	}
	base := len(p.arguments)
	for more := true; more; more = p.more(')') {
		a, at := p.tree.arguments.one().place(p.peek())
		a.Position = at
		p.c.weight++
		a.Name = p.name()
		p.expect(':', `":"`)
		a.Value = p.value(constant, 0)
		p.arguments = append(p.arguments, a)
	}
	list := p.tree.argumentLists.copied(p.arguments[base:])
	p.arguments = p.arguments[:base]
	return list
}

func (p *treeParser) directiveList(constant bool) ast.DirectiveList {
	if p.peek().kind != '@' {
		return nil
	}
	base := len(p.directives)
	for p.skip('@') {
		d, at := p.tree.directives.one().place(p.peek())
		d.Position = at
		p.c.weight++
		p.c.own.directives++
		d.Name = p.name()
		d.Arguments = p.argumentList(constant)
		p.directives = append(p.directives, d)
	}
	list := p.tree.directiveLists.copied(p.directives[base:])
	p.directives = p.directives[:base]
	return list
}

// value parses a literal inside of depth lists and objects.
func (p *treeParser) value(constant bool, depth int) *ast.Value {
	t := p.peek()
	v, at := p.tree.values.one().place(t)
	v.Position = at
	p.c.weight++
	switch t.kind {
	case '$':
		if constant {
			p.fail("expected a value without variables")
			return v
		}
		p.take()
		v.Kind, v.Raw = ast.Variable, p.name()
		return v
	case '[', '{':
		p.list(v, constant, depth)
		return v
	case tokenInt:
		v.Kind = ast.IntValue
	case tokenFloat:
		v.Kind = ast.FloatValue
	case tokenString:
		v.Kind = ast.StringValue
	case tokenName:
		v.Kind = ast.EnumValue
		switch p.lex.text(t) {
		case "true", "false":
			v.Kind = ast.BooleanValue
		case "null":
			v.Kind = ast.NullValue
		}
	default:
		p.fail("expected a value")
		return v
	}
	v.Raw = p.lex.text(p.take())
	return v
}

// list parses a list or an object into v; both may be empty.
func (p *treeParser) list(v *ast.Value, constant bool, depth int) {
	end := tokenKind(']')
	v.Kind = ast.ListValue
	if p.take().kind == '{' {
		end, v.Kind = '}', ast.ObjectValue
	}
	base := len(p.children)
	for p.more(end) {
		child, at := p.tree.children.one().place(p.peek())
		if v.Kind == ast.ObjectValue {
			child.Position = at
			child.Name = p.name()
			p.expect(':', `":"`)
		}
		child.Value = p.value(constant, depth+1)
		p.children = append(p.children, child)
	}
	v.Children = p.tree.childLists.copied(p.children[base:])
	p.children = p.children[:base]
	p.c.own.valueDepth = max(p.c.own.valueDepth, depth+1)
	if v.Kind == ast.ListValue {
		p.c.own.listItems = max(p.c.own.listItems, len(v.Children))
	}
}

// begin starts a definition.
func (c *compiler) begin() *definition {
	c.defs = append(c.defs, definition{start: int32(len(c.nodes)), spreads: int32(len(c.spreads))})
	c.own, c.weight = measures{}, 1
	return &c.defs[len(c.defs)-1]
}

// end completes the definition that begin started.
func (c *compiler) end(d *definition) {
	d.end, d.spreadEnd = int32(len(c.nodes)), int32(len(c.spreads))
	d.total, d.weight = c.own, c.weight
	d.total.weight = c.weight
}

// index puts fragments before operations and lets spreads know their fragments.
// It holds the number of definitions against the limit.
func (c *compiler) index() error {
	c.fragmentCount = 0
	for i := range c.defs {
		if c.defs[i].frag != nil {
			c.fragmentCount++
		}
	}
	if c.fragmentCount > 0 && c.fragmentCount < len(c.defs) {
		slices.SortStableFunc(c.defs, func(a, b definition) int { return a.group() - b.group() })
	}
	for _, group := range [][]definition{c.defs[:c.fragmentCount], c.defs[c.fragmentCount:]} {
		if n := len(group); n > c.limits.Fragments {
			return limitAt(LimitFragments, n, c.limits.Fragments, group[c.limits.Fragments].position())
		}
	}
	for i := range c.fragmentCount {
		name := c.defs[i].frag.Name
		if _, ok := c.fragments[name]; !ok {
			c.fragments[name] = int32(i)
		}
	}
	for i := range c.spreads {
		n := &c.nodes[c.spreads[i].node]
		if target, ok := c.fragments[n.spread.Name]; ok {
			n.fragment = target
		}
		c.spreads[i].fragment = n.fragment
	}
	return nil
}

// group is 0 for fragments, 1 for operations.
func (d *definition) group() int {
	if d.frag != nil {
		return 0
	}
	return 1
}
