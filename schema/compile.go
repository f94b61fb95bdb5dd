package schema

import (
	"fmt"
	"sync"

	"github.com/vektah/gqlparser/v2/ast"
)

// OperationNameError means that the document has no operation of that name, or
// none that an empty name could stand for.
type OperationNameError struct {
	Name  string
	Known int // operations in the document
}

func (e *OperationNameError) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("the document has %d operations: operationName must say which", e.Known)
	}
	return "the document has no operation named " + quoted(e.Name)
}

// Compile parses, bounds and validates the whole document, and returns the
// operation of that name; an empty name stands for the only one. Limits that
// are zero are those of [DefaultLimits].
//
// The order is: bytes, tokens, nesting, grammar; definition counts, fragment
// cycles, depth, root fields, aliases, directives, values, walk budget; the
// specification's validation rules (section 5) as graphql-js 16 implements
// them. The first error ends it: *LimitError, *ParseError, *ValidationError,
// *OperationNameError. The cost is linear in the document whatever it holds;
// where merging fields or narrowing types would not be, a budget refuses
// (LimitWalk) or the less narrow superset is taken.
//
// It is safe for concurrent use.
func (s *Schema) Compile(document, operationName string, limits Limits) (*Operation, error) {
	c := compilers.Get().(*compiler)
	defer c.release()
	return c.compile(s, document, operationName, limits.orDefaults())
}

// Per token and document, the steps that the merger, and likewise the walker, may
// take. The operations of testdata/corpora need at most 2 a token. Each step
// costs a small part of what a token does, so that a document which takes all of
// them is not much dearer than one of the same size which takes none.
const (
	stepsPerToken    = 6
	stepsPerDocument = 500
)

// Per token and document, the nodes that definitions may reach in all when they
// spread fragments over and over. The operations of testdata/corpora reach 3.2.
const (
	walkPerToken    = 12
	walkPerDocument = 2000
)

// budget is what grows with the document, within Walk. Who sets Walk above its
// default has all of it for every document.
func (l *Limits) budget(ofDocument int) int {
	if l.Walk > DefaultLimits.Walk {
		return l.Walk
	}
	return min(l.Walk, ofDocument)
}

func (c *compiler) compile(s *Schema, document, operationName string, limits Limits) (*Operation, error) {
	c.schema, c.types, c.limits = s, s.types, limits
	if err := c.parse(document); err != nil {
		return nil, err
	}
	c.allowance = limits.budget(stepsPerDocument + stepsPerToken*c.tokens)
	if err := c.order(); err != nil {
		return nil, err
	}
	if err := c.measure(); err != nil {
		return nil, err
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	chosen, err := c.choose(operationName)
	if err != nil {
		return nil, err
	}
	return c.operation(chosen, len(document))
}

// parse lays the document out as definitions and nodes. It follows no spread.
func (c *compiler) parse(document string) error {
	if err := c.lexer.read(document, c.limits); err != nil {
		return err
	}
	c.tokens = len(c.lexer.tokens) - 1
	if err := c.parser.document(c); err != nil {
		return err
	}
	return c.index()
}

// compiler is the working memory of one Compile. Nothing in it outlives the call.
type compiler struct {
	schema *Schema
	view   *View // what the reader knows of the schema; nil: all of it
	types  *typeTable
	limits Limits
	// allowance bounds the steps of the merger, and those of the walker.
	allowance int
	tokens    int

	nodes         []node
	spreads       []spreadRef
	defs          []definition
	fragments     map[string]int32 // the first of each name
	fragmentCount int
	keys          Names   // response keys
	sorted        []int32 // definitions, each after those that it spreads

	lexer  tokenizer
	parser treeParser
	text   []byte   // printed last
	own    measures // of the definition being parsed
	weight int
	stack  []frame
	walks  int32
	visits int // spreads that reach has followed

	current   *definition // being validated
	seen      []uint64    // arguments given, by position in their definition
	usages    []usage
	nesting   int32 // lists and objects around the value being validated
	variables map[string]int32

	merger merger
	walker walker
}

var compilers = sync.Pool{New: func() any {
	return &compiler{fragments: map[string]int32{}, variables: map[string]int32{}}
}}

// maxPooled bounds, in nodes, the working memory that is kept for reuse.
const maxPooled = 8192

func (c *compiler) release() {
	if cap(c.nodes) > maxPooled || cap(c.usages) > maxPooled || cap(c.lexer.tokens) > maxPooled {
		return
	}
	clear(c.nodes)
	clear(c.defs)
	clear(c.usages)
	clear(c.fragments)
	c.keys.Reset()
	clear(c.variables)
	c.nodes, c.spreads, c.defs = c.nodes[:0], c.spreads[:0], c.defs[:0]
	c.sorted, c.usages, c.stack = c.sorted[:0], c.usages[:0], c.stack[:0]
	c.walks, c.visits, c.nesting = 0, 0, 0
	c.schema, c.view, c.types, c.current = nil, nil, nil, nil
	c.lexer.release()
	c.parser.release()
	c.merger.release()
	c.walker.release()
	compilers.Put(c)
}

// choose returns the index of the operation's definition.
func (c *compiler) choose(name string) (int32, error) {
	ops := c.defs[c.fragmentCount:]
	if name == "" && len(ops) == 1 {
		return int32(c.fragmentCount), nil
	}
	if name != "" {
		for i := range ops {
			if ops[i].op.Name == name {
				return int32(c.fragmentCount + i), nil
			}
		}
	}
	return 0, &OperationNameError{Name: name, Known: len(ops)}
}

// operation builds the result from the validated document of length bytes.
func (c *compiler) operation(chosen int32, length int) (*Operation, error) {
	d := &c.defs[chosen]
	op := &Operation{
		Schema: c.schema, Kind: d.op.Operation, Name: d.op.Name, Definition: d.op,
		sole: len(c.defs) == c.fragmentCount+1,
		Shape: Shape{
			Depth: d.total.depth, Aliases: d.total.aliases, RootFields: d.total.rootFields,
			Directives: d.total.directives, Tokens: c.tokens, Fragments: c.fragmentCount,
			ValueDepth: d.total.valueDepth, ListItems: d.total.listItems, Fields: d.total.fields,
		},
	}
	_ = c.reach(chosen, func(d *definition) error {
		if d.frag != nil {
			op.Fragments = append(op.Fragments, d.frag)
		}
		op.Shape.Introspection = op.Shape.Introspection || d.introspection
		return nil
	})
	if err := c.bindVariables(op, chosen); err != nil {
		return nil, err
	}
	c.text = op.print(c.text)
	if err := c.findUses(op, chosen); err != nil {
		return nil, err
	}
	// A token costs some 120 bytes of tree; the tree's positions and names hold
	// the source text, the canonical text is apart.
	const perToken, perUse, perEntry, perArgument, perCondition = 120, 80, 8, 104, 48
	op.size = length + len(op.Text) + perToken*c.tokens + perUse*len(op.Uses) +
		perEntry*c.walker.entries + perArgument*c.walker.arguments + perCondition*len(op.Conditions)
	return op, nil
}

func limitAt(kind LimitKind, got, limit int, at *ast.Position) error {
	e := &LimitError{Kind: kind, Got: got, Max: limit}
	if at != nil {
		e.Line, e.Column = at.Line, at.Column
	}
	return e
}

func invalidAt(rule string, at *ast.Position, message string) error {
	e := &ValidationError{Rule: rule, Message: message}
	if at != nil {
		e.Line, e.Column = at.Line, at.Column
	}
	return e
}

// maxQuoted bounds, in bytes, how much of a client's name an error repeats.
const maxQuoted = 100

// quoted puts a name in quotes, shortened when it is long.
func quoted(name string) string {
	if len(name) > maxQuoted {
		name = name[:maxQuoted] + "…"
	}
	return `"` + name + `"`
}
