package cost

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/schema"
)

// ErrSchema is returned by Compile for an operation of another schema.
var ErrSchema = errors.New("cost: the operation was compiled for another schema")

// Bounds of one compilation. Merged selection sets can grow as subsets do; past
// either bound the syntactic bound takes over.
const (
	maxScopes = 20_000
	maxVisits = 150_000 // selections looked at
)

// Compile builds the program that prices the operation under any variables.
// The error is ErrSchema. An operation whose merged selection sets exceed the
// work budget is priced by a syntactic upper bound and flagged approximate.
func (m *Model) Compile(op *schema.Operation) (*Program, error) {
	if op.Schema != m.schema && op.Schema.Digest() != m.schema.Digest() {
		return nil, ErrSchema
	}
	c := newCompiler(m, op)
	root := m.outputs[rootType(m.schema, op.Kind)]
	id := c.scope([]piece{{nil, alwaysLive}}, root, 0)
	if c.exhausted {
		return m.compileSyntactic(op), nil
	}
	c.p.finish(id, root, op)
	return c.p, nil
}

// compileSyntactic builds the approximate program.
func (m *Model) compileSyntactic(op *schema.Operation) *Program {
	root := m.outputs[rootType(m.schema, op.Kind)]
	c := newCompiler(m, op)
	c.p.approximate = true
	c.p.finish(c.syntacticScope(op.Definition.SelectionSet, root, 0), root, op)
	return c.p
}

func rootType(s *schema.Schema, kind ast.Operation) string {
	switch kind {
	case ast.Mutation:
		return s.AST().Mutation.Name
	case ast.Subscription:
		return s.AST().Subscription.Name
	}
	return s.AST().Query.Name
}

// compiler is the state of one compilation.
type compiler struct {
	model *Model
	op    *schema.Operation
	p     *Program

	guards       map[guardOp]int32
	memo         map[string]int32
	expectations map[sizeKey]int32
	constants    map[size]int32
	fieldIDs     map[*ast.Field]int32
	contexts     []context
	contextIDs   map[string]int32
	flatSpecs    map[*fieldSpec]*fieldSpec
	variables    map[string]int32

	// order holds the reachable fragments, a fragment before those it spreads.
	order []*ast.FragmentDefinition
	rank  map[*ast.FragmentDefinition]int32
	// reach is the guard under which each fragment is reached in the scope at
	// hand, by rank, valid where stamp equals now.
	reach []int32
	stamp []int32
	now   int32
	last  int32 // highest rank reached

	// occurrenceGroups are the groups of each occurrence of a syntactic program.
	occurrenceGroups [][]int32

	key       []byte
	visits    int
	exhausted bool
}

// piece is one of the selection sets that a scope merges: that of field, or
// the operation's own when field is nil.
type piece struct {
	field *ast.Field
	guard int32
}

// sizing is a size that sizedFields hands down to the list at path.
type sizing struct {
	path []string
	size int32
}

// context is what a field hands down to the selections below it.
type context struct {
	sizes []sizing
	// flat says that a flat charge covers the objects here (a Shopify mutation).
	flat bool
}

func newCompiler(m *Model, op *schema.Operation) *compiler {
	c := &compiler{
		model: m, op: op,
		p:            &Program{model: m, operation: op.Name},
		guards:       map[guardOp]int32{{}: alwaysLive},
		memo:         map[string]int32{},
		expectations: map[sizeKey]int32{},
		constants:    map[size]int32{},
		fieldIDs:     map[*ast.Field]int32{},
		contexts:     []context{{}},
		contextIDs:   map[string]int32{},
		flatSpecs:    map[*fieldSpec]*fieldSpec{},
		variables:    make(map[string]int32, len(op.Variables)),
	}
	c.p.guards = append(c.p.guards, guardOp{})
	for i := range op.Variables {
		c.variables[op.Variables[i].Name] = int32(i)
	}
	c.sortFragments()
	return c
}

func (c *compiler) variable(name string) int32 {
	if i, ok := c.variables[name]; ok {
		return i
	}
	return int32(len(c.op.Variables)) // never has a value
}

// sortFragments fills order and rank.
func (c *compiler) sortFragments() {
	c.rank = make(map[*ast.FragmentDefinition]int32, len(c.op.Fragments))
	var visit func(set ast.SelectionSet)
	visit = func(set ast.SelectionSet) {
		for _, s := range set {
			switch s := s.(type) {
			case *ast.Field:
				visit(s.SelectionSet)
			case *ast.InlineFragment:
				visit(s.SelectionSet)
			case *ast.FragmentSpread:
				if _, seen := c.rank[s.Definition]; !seen {
					c.rank[s.Definition] = -1
					visit(s.Definition.SelectionSet)
					c.order = append(c.order, s.Definition)
				}
			}
		}
	}
	visit(c.op.Definition.SelectionSet)
	slices.Reverse(c.order)
	for i, f := range c.order {
		c.rank[f] = int32(i)
	}
	c.reach = make([]int32, len(c.order))
	c.stamp = make([]int32, len(c.order))
}

func (c *compiler) selections(p piece) ast.SelectionSet {
	if p.field == nil {
		return c.op.Definition.SelectionSet
	}
	return p.field.SelectionSet
}

// occurrences is a response key with what was collected for it.
type occurrences struct {
	key    string
	pieces []piece
	live   int32 // the guard under which any occurrence is live
}

// scope compiles the selection sets of pieces for a value of type t and returns
// its index. Equal scopes are compiled once.
func (c *compiler) scope(pieces []piece, t *outputType, ctx int32) int32 {
	key := c.scopeKey(pieces, t, ctx)
	if id, ok := c.memo[string(key)]; ok {
		return id
	}
	memoKey := string(key)
	if len(c.p.scopes) >= maxScopes || c.visits > maxVisits {
		c.exhausted = true
	}
	if c.exhausted {
		return 0
	}
	var regions []draft
	for _, types := range c.partition(pieces, t) {
		regions = c.region(regions, pieces, types, c.contexts[ctx])
	}
	id := c.p.addScope(regions)
	c.memo[memoKey] = id
	return id
}

func (c *compiler) scopeKey(pieces []piece, t *outputType, ctx int32) []byte {
	key := binary.AppendUvarint(c.key[:0], uint64(t.id))
	key = binary.AppendUvarint(key, uint64(ctx))
	if len(pieces) > 1 {
		for _, p := range pieces {
			c.fieldID(p.field) // in the order of the document
		}
		slices.SortFunc(pieces, func(a, b piece) int { return int(c.fieldID(a.field) - c.fieldID(b.field)) })
	}
	for _, p := range pieces {
		key = binary.AppendUvarint(key, uint64(c.fieldID(p.field)))
		key = binary.AppendUvarint(key, uint64(p.guard))
	}
	c.key = key
	return key
}

func (c *compiler) fieldID(f *ast.Field) int32 {
	id, ok := c.fieldIDs[f]
	if !ok {
		id = int32(len(c.fieldIDs))
		c.fieldIDs[f] = id
	}
	return id
}

// partition splits the possible types of t into regions that no type condition
// reachable from the pieces tells apart.
func (c *compiler) partition(pieces []piece, t *outputType) []schema.TypeSet {
	if t.possible.Empty() {
		return nil
	}
	regions := []schema.TypeSet{t.possible}
	if !t.abstract {
		return regions
	}
	seen := map[string]bool{t.name: true}
	c.now++
	split := func(name string) {
		if !seen[name] {
			seen[name] = true
			regions = splitRegions(regions, c.model.outputs[name].possible)
		}
	}
	for _, p := range pieces {
		c.conditions(c.selections(p), split)
	}
	return regions
}

// conditions calls split for each type condition below set, fields excluded.
func (c *compiler) conditions(set ast.SelectionSet, split func(name string)) {
	for _, s := range set {
		c.visits++
		switch s := s.(type) {
		case *ast.InlineFragment:
			if s.TypeCondition != "" {
				split(s.TypeCondition)
			}
			c.conditions(s.SelectionSet, split)
		case *ast.FragmentSpread:
			if r := c.rank[s.Definition]; c.stamp[r] != c.now {
				c.stamp[r] = c.now
				split(s.Definition.TypeCondition)
				c.conditions(s.Definition.SelectionSet, split)
			}
		}
	}
}

func splitRegions(regions []schema.TypeSet, by schema.TypeSet) []schema.TypeSet {
	for i, n := 0, len(regions); i < n; i++ {
		in := regions[i].Intersect(by)
		if in.Empty() || regions[i].SubsetOf(by) {
			continue
		}
		regions = append(regions, without(regions[i], by))
		regions[i] = in
	}
	return regions
}

func without(t, o schema.TypeSet) schema.TypeSet {
	out := make(schema.TypeSet, len(t))
	for i, w := range t {
		if i < len(o) {
			w &^= o[i]
		}
		out[i] = w
	}
	return out
}

// draft is a region before it is placed in the program.
type draft struct {
	types    schema.TypeSet
	members  []member
	typename string
}

// region collects the fields of pieces for the object types, splits the region
// where a field's price depends on the object type, and prices what it found.
func (c *compiler) region(regions []draft, pieces []piece, types schema.TypeSet, ctx context) []draft {
	collected, typename := c.collect(pieces, first(types))
	parts := []schema.TypeSet{types}
	if types.Len() > 1 {
		for _, o := range collected {
			for _, v := range c.variants(o.pieces[0].field) {
				parts = splitRegions(parts, v.types)
			}
		}
	}
	for _, part := range parts {
		d := draft{types: part, typename: typename, members: make([]member, 0, len(collected))}
		object := c.model.objects[first(part)]
		many := part.Len() > 1
		for i := range collected {
			o := &collected[i]
			f := o.pieces[0].field
			spec := object[f.Name]
			if spec == nil {
				continue
			}
			coordinate := spec.coordinate
			if many {
				coordinate = f.ObjectDefinition.Name + "." + f.Name
			}
			d.members = append(d.members, member{group: c.group(o, spec, coordinate, ctx), guard: o.live})
			if c.exhausted {
				return nil
			}
		}
		regions = append(regions, d)
	}
	return regions
}

// variants returns the object types by the price of f; nil when they agree.
func (c *compiler) variants(f *ast.Field) []variant {
	if v := c.model.interfaces[f.ObjectDefinition.Name][f.Name]; len(v) > 1 {
		return v
	}
	return nil
}

func first(t schema.TypeSet) int {
	for i := range t.All {
		return i
	}
	return -1
}

// collect is CollectFields (specification, section 6.3.2) for one object type.
// Fragments are visited once each, after everything that may spread them.
func (c *compiler) collect(pieces []piece, object int) ([]occurrences, string) {
	c.now++
	c.last = -1
	w := collector{c: c, object: object}
	for _, p := range pieces {
		w.walk(c.selections(p), p.guard)
	}
	for r := int32(0); r <= c.last; r++ {
		if c.stamp[r] == c.now {
			w.walk(c.order[r].SelectionSet, c.reach[r])
		}
	}
	return w.found, w.typename
}

type collector struct {
	c        *compiler
	object   int
	found    []occurrences
	index    map[string]int // from fewKeys keys on
	typename string         // the response key of __typename, if it is selected
}

// fewKeys is how many response keys are searched one by one.
const fewKeys = 12

func (w *collector) walk(set ast.SelectionSet, guard int32) {
	c := w.c
	for _, s := range set {
		c.visits++
		switch s := s.(type) {
		case *ast.Field:
			if g := c.and(guard, c.condition(s.Directives)); g != neverLive {
				w.add(s, g)
			}
		case *ast.InlineFragment:
			if !w.applies(s.TypeCondition) {
				continue
			}
			if g := c.and(guard, c.condition(s.Directives)); g != neverLive {
				w.walk(s.SelectionSet, g)
			}
		case *ast.FragmentSpread:
			if !w.applies(s.Definition.TypeCondition) {
				continue
			}
			g := c.and(guard, c.condition(s.Directives))
			if g == neverLive {
				continue
			}
			r := c.rank[s.Definition]
			if c.stamp[r] == c.now {
				g = c.or(g, c.reach[r])
			}
			c.stamp[r], c.reach[r] = c.now, g
			c.last = max(c.last, r)
		}
	}
}

func (w *collector) applies(condition string) bool {
	return condition == "" || w.c.model.outputs[condition].possible.Has(w.object)
}

func (w *collector) add(f *ast.Field, guard int32) {
	key := f.Alias
	if key == "" {
		key = f.Name
	}
	if strings.HasPrefix(f.Name, "__") {
		if f.Name == "__typename" && (w.typename == "" || guard == alwaysLive) {
			w.typename = key
		}
		return
	}
	i := w.find(key)
	if i < 0 {
		if w.index != nil {
			w.index[key] = len(w.found)
		}
		w.found = append(w.found, occurrences{key: key, pieces: []piece{{f, guard}}, live: guard})
		return
	}
	o := &w.found[i]
	o.pieces = append(o.pieces, piece{f, guard})
	o.live = w.c.or(o.live, guard)
}

func (w *collector) find(key string) int {
	if len(w.found) < fewKeys {
		for i := range w.found {
			if w.found[i].key == key {
				return i
			}
		}
		return -1
	}
	if w.index == nil {
		w.index = make(map[string]int, 2*fewKeys)
		for i := range w.found {
			w.index[w.found[i].key] = i
		}
	}
	if i, ok := w.index[key]; ok {
		return i
	}
	return -1
}

// group prices one response key and compiles what is selected below it.
func (c *compiler) group(o *occurrences, spec *fieldSpec, coordinate string, ctx context) int32 {
	g := c.pricedGroup(o, spec, coordinate, ctx)
	if spec.returns.composite {
		g.child = c.scope(c.relative(o), spec.returns, c.context(g.spec, g.expected, ctx))
	}
	if c.exhausted {
		return -1
	}
	return c.p.addGroup(g)
}

// pricedGroup is a group without its child.
func (c *compiler) pricedGroup(o *occurrences, spec *fieldSpec, coordinate string, ctx context) group {
	f := o.pieces[0].field
	if ctx.flat && spec.byType {
		spec = c.flatSpec(spec)
	}
	g := group{key: o.key, spec: spec, coordinate: coordinate, child: -1}
	g.expected = c.expected(f, spec)
	g.length = c.listLength(spec, g.expected, ctx.sizes)
	g.call = spec.call
	g.terms.lo = int32(len(c.p.terms))
	for _, a := range spec.priced {
		var literal *ast.Value
		if arg := f.Arguments.ForName(a.name); arg != nil {
			literal = arg.Value
		}
		g.call += c.literalCost(literal, a, false)
	}
	g.terms.hi = int32(len(c.p.terms))
	g.extras = c.directiveCosts(o)
	return g
}

// relative returns the group's occurrences with guards relative to the group
// being live at all, so that equal selection sets meet in one scope.
func (c *compiler) relative(o *occurrences) []piece {
	pieces := slices.Clone(o.pieces)
	for i := range pieces {
		if pieces[i].guard == o.live {
			pieces[i].guard = alwaysLive
		}
	}
	return pieces
}

// flatSpec is spec without the object's own weight.
func (c *compiler) flatSpec(spec *fieldSpec) *fieldSpec {
	free := c.flatSpecs[spec]
	if free == nil {
		clone := *spec
		clone.itemA, clone.itemB, clone.byType = 0, 0, false
		free = &clone
		c.flatSpecs[spec] = free
	}
	return free
}

// context returns what holds for the selections below a field: the sizes that
// sizedFields hands down, and whether a flat charge covers them. A connection
// is charged for its items again.
func (c *compiler) context(spec *fieldSpec, expected int32, ctx context) int32 {
	out := context{flat: (ctx.flat || spec.flat) && (spec.list || !spec.returns.connection)}
	if expected >= 0 {
		for _, path := range spec.size.sized {
			out.sizes = append(out.sizes, sizing{path, expected})
		}
	}
	for _, s := range ctx.sizes {
		if len(s.path) > 1 && s.path[0] == spec.name {
			out.sizes = append(out.sizes, sizing{s.path[1:], s.size})
		}
	}
	if len(out.sizes) == 0 && !out.flat {
		return 0
	}
	e := newEncoder()
	e.flags(out.flat)
	for _, s := range out.sizes {
		e.bytes = binary.AppendUvarint(e.bytes, uint64(s.size))
		e.text(strings.Join(s.path, "."))
	}
	key := string(e.bytes)
	id, ok := c.contextIDs[key]
	if !ok {
		id = int32(len(c.contexts))
		c.contexts = append(c.contexts, out)
		c.contextIDs[key] = id
	}
	return id
}

// directiveCosts prices the weighted directives on a group's occurrences. A
// resolver runs once, so the dearest live occurrence counts.
func (c *compiler) directiveCosts(o *occurrences) span {
	out := span{int32(len(c.p.extras)), int32(len(c.p.extras))}
	if len(c.model.directives) == 0 || !c.model.algebra.ibm {
		return out
	}
	weighted := false
	for _, p := range o.pieces {
		e := extra{guard: p.guard, terms: span{lo: int32(len(c.p.terms))}}
		for _, d := range p.field.Directives {
			for name, s := range c.model.directives[d.Name] {
				weighted = true
				var literal *ast.Value
				if arg := d.Arguments.ForName(name); arg != nil {
					literal = arg.Value
				}
				e.base += c.literalCost(literal, s, false)
			}
		}
		e.terms.hi = int32(len(c.p.terms))
		c.p.extras = append(c.p.extras, e)
	}
	if !weighted {
		c.p.extras = c.p.extras[:out.lo]
		return out
	}
	out.hi = int32(len(c.p.extras))
	return out
}
