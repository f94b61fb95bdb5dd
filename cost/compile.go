package cost

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/schema"
)

// ErrSchema is returned by Compile for an operation of another schema.
var ErrSchema = errors.New("cost: the operation was compiled for another schema")

// Bounds of one compilation, in selections looked at and groups placed: for each
// selection of the document, and for each document. Merged selection sets can
// grow as subsets do, and regions as the square of the type conditions; past the
// bound the syntactic one takes over, so that no document is much dearer than one
// half as large. The part for each document pays for one place whose 60 types have
// each a price of their own, however little is selected there: a small document
// that gave up on it would be a third as dear as one of twice its size that does
// not.
const (
	workPerSelection = 8
	workPerDocument  = 1000
)

// passedPerWork is how many type conditions that do not apply, or regions that
// are split, cost as much as one selection.
const passedPerWork = 4

// Compile builds the program that prices the operation under any variables.
// The error is ErrSchema. An operation whose merged selection sets exceed the
// work budget is priced by a syntactic upper bound and flagged approximate.
func (m *Model) Compile(op *schema.Operation) (*Program, error) {
	if op.Schema != m.schema && op.Schema.Digest() != m.schema.Digest() {
		return nil, ErrSchema
	}
	root := m.outputs[rootType(m.schema, op.Kind)]
	c := newCompiler(m, op)
	id := c.scope([]piece{{nil, alwaysLive}}, root, 0)
	p, exhausted := c.p, c.exhausted
	c.release()
	if exhausted {
		wasted := p.work
		p = m.compileSyntactic(op)
		p.work += wasted
		return p, nil
	}
	p.finish(id, root, op)
	return p, nil
}

// compileSyntactic builds the approximate program.
func (m *Model) compileSyntactic(op *schema.Operation) *Program {
	root := m.outputs[rootType(m.schema, op.Kind)]
	c := newCompiler(m, op)
	p := c.p
	p.approximate = true
	id := c.syntacticScope(op.Definition.SelectionSet, 0)
	c.release()
	p.finish(id, root, op)
	return p
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

// compiler is the state of one compilation. Its maps and stacks are used again
// by the next; nothing of it is referenced by the Program.
type compiler struct {
	model *Model
	op    *schema.Operation
	p     *Program

	guards       map[guardOp]int32
	expectations map[sizeKey]int32
	constants    map[size]int32
	variables    map[string]int32
	flatSpecs    map[*fieldSpec]*fieldSpec

	// scopes that were compiled, by their only selection set or by several.
	single map[singleKey]int32
	merged map[string]int32
	// fieldIDs number the fields whose selection sets were merged.
	fieldIDs map[*ast.Field]int32

	contexts   []context
	contextIDs map[string]int32

	// order holds the reachable fragments, a fragment before those it spreads.
	order []*ast.FragmentDefinition
	rank  map[*ast.FragmentDefinition]int32
	// reach is the guard under which each fragment is reached in the region at
	// hand, by rank, valid where stamp equals now.
	reach []int32
	stamp []int32
	now   int32
	last  int32 // highest rank reached
	// typeStamp marks the type conditions that partition has used, by type id.
	typeStamp []int32

	// keys numbers the response keys of the region at hand, from found's end.
	keys schema.Names

	// Stacks: a scope uses what it pushed and pops it.
	found   []occurrences
	cells   []cell
	pieces  []piece
	members []member
	drafts  []draft

	// occurrenceGroups are the groups of each occurrence of a syntactic program.
	occurrenceGroups [][]int32

	key       []byte
	selected  int // selections of the operation and its fragments
	exhausted bool
}

// piece is one of the selection sets that a scope merges: that of field, or
// the operation's own when field is nil.
type piece struct {
	field *ast.Field
	guard int32
}

// cell links the occurrences of one response key; next is 0 at the end, else
// the index of the next cell plus one.
type cell struct {
	piece
	next int32
}

// occurrences is a response key with what was collected for it.
type occurrences struct {
	field       *ast.Field // the first
	first, last int32      // cells
	live        int32      // the guard under which any occurrence is live
}

// draft is a region before it is placed in the program.
type draft struct {
	types    schema.TypeSet
	members  span // on the stack of members
	typename string
}

type singleKey struct {
	piece
	typ, ctx int32
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

var compilers = sync.Pool{New: func() any {
	return &compiler{
		guards: map[guardOp]int32{}, expectations: map[sizeKey]int32{}, constants: map[size]int32{}, variables: map[string]int32{},
		flatSpecs: map[*fieldSpec]*fieldSpec{}, single: map[singleKey]int32{}, merged: map[string]int32{}, fieldIDs: map[*ast.Field]int32{},
		contextIDs: map[string]int32{}, rank: map[*ast.FragmentDefinition]int32{},
	}
}}

// onlyAlways are the guards of a program without conditions.
var onlyAlways = []guardOp{{}}

func newCompiler(m *Model, op *schema.Operation) *compiler {
	c := compilers.Get().(*compiler)
	composite := 1
	for i := range op.Uses {
		if len(op.Uses[i].Field.SelectionSet) > 0 {
			composite++
		}
	}
	c.model, c.op = m, op
	c.p = &Program{
		model: m, operation: op.Name, guards: onlyAlways[:1:1],
		groups: make([]group, 0, len(op.Uses)), members: make([]member, 0, len(op.Uses)),
		scopes: make([]scope, 0, composite), sizes: make([]sizeOp, 0, composite), regions: make([]region, 0, composite),
	}
	c.guards[guardOp{}] = alwaysLive
	c.contexts = append(c.contexts, context{})
	for i := range op.Variables {
		c.variables[op.Variables[i].Name] = int32(i)
	}
	if n := len(m.outputs); len(c.typeStamp) < n {
		c.typeStamp = make([]int32, n)
	}
	c.sortFragments()
	return c
}

// keptEntries bounds what a compiler keeps for the next compilation.
const keptEntries = 4096

func (c *compiler) release() {
	if len(c.single)+len(c.merged)+len(c.fieldIDs)+len(c.guards)+len(c.contexts)+len(c.expectations)+cap(c.cells)+cap(c.members) > keptEntries {
		return
	}
	clear(c.guards)
	clear(c.expectations)
	clear(c.constants)
	clear(c.variables)
	clear(c.flatSpecs)
	clear(c.single)
	clear(c.merged)
	clear(c.fieldIDs)
	clear(c.contextIDs)
	clear(c.rank)
	c.keys.Reset()
	clear(c.contexts)
	clear(c.order)
	clear(c.found[:cap(c.found)])
	clear(c.cells[:cap(c.cells)])
	clear(c.pieces[:cap(c.pieces)])
	clear(c.drafts[:cap(c.drafts)])
	c.contexts, c.order, c.occurrenceGroups = c.contexts[:0], c.order[:0], nil
	c.found, c.cells, c.pieces, c.members, c.drafts = c.found[:0], c.cells[:0], c.pieces[:0], c.members[:0], c.drafts[:0]
	c.model, c.op, c.p, c.exhausted = nil, nil, nil, false
	compilers.Put(c)
}

func (c *compiler) variable(name string) int32 {
	if i, ok := c.variables[name]; ok {
		return i
	}
	return int32(len(c.op.Variables)) // never has a value
}

// sortFragments fills order and rank.
func (c *compiler) sortFragments() {
	c.selected = 0
	c.visitFragments(c.op.Definition.SelectionSet)
	slices.Reverse(c.order)
	for i, f := range c.order {
		c.rank[f] = int32(i)
	}
	c.reach = resize(c.reach, len(c.order))
	c.stamp = resize(c.stamp, len(c.order))
	clear(c.stamp)
	clear(c.typeStamp)
	c.now = 0
}

// visitFragments appends the fragments below set to order, each after those
// that it spreads, and counts the selections.
func (c *compiler) visitFragments(set ast.SelectionSet) {
	c.selected += len(set)
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			c.visitFragments(s.SelectionSet)
		case *ast.InlineFragment:
			c.visitFragments(s.SelectionSet)
		case *ast.FragmentSpread:
			if _, seen := c.rank[s.Definition]; !seen {
				c.rank[s.Definition] = -1
				c.visitFragments(s.Definition.SelectionSet)
				c.order = append(c.order, s.Definition)
			}
		}
	}
}

func (c *compiler) selections(p piece) ast.SelectionSet {
	if p.field == nil {
		return c.op.Definition.SelectionSet
	}
	return p.field.SelectionSet
}

// scope compiles the selection sets of pieces for a value of type t and returns
// its index. Equal scopes are compiled once.
func (c *compiler) scope(pieces []piece, t *outputType, ctx int32) int32 {
	only := singleKey{pieces[0], t.id, ctx}
	if len(pieces) == 1 {
		if id, ok := c.single[only]; ok {
			return id
		}
	} else if id, ok := c.merged[string(c.mergedKey(pieces, t, ctx))]; ok {
		return id
	}
	if c.spent(0) {
		return 0
	}
	drafts, members := len(c.drafts), len(c.members)
	for _, types := range c.partition(pieces, t) {
		if c.spent(0) {
			return 0
		}
		c.region(pieces, types, c.contexts[ctx])
	}
	if c.exhausted {
		return 0
	}
	id := c.p.addScope(c.drafts[drafts:], c.members)
	c.drafts, c.members = c.drafts[:drafts], c.members[:members]
	if len(pieces) == 1 {
		c.single[only] = id
	} else {
		c.merged[string(c.mergedKey(pieces, t, ctx))] = id
	}
	return id
}

// spent adds to the work and reports whether it is past the budget.
func (c *compiler) spent(work int) bool {
	c.p.work += work
	c.exhausted = c.exhausted || c.p.work > workPerDocument+workPerSelection*c.selected
	return c.exhausted
}

// mergedKey identifies a set of pieces, whatever their order. It is valid until
// the next call.
func (c *compiler) mergedKey(pieces []piece, t *outputType, ctx int32) []byte {
	for _, p := range pieces {
		if _, ok := c.fieldIDs[p.field]; !ok { // in the order of the document
			c.fieldIDs[p.field] = int32(len(c.fieldIDs))
		}
	}
	slices.SortFunc(pieces, func(a, b piece) int { return int(c.fieldIDs[a.field] - c.fieldIDs[b.field]) })
	key := binary.AppendUvarint(c.key[:0], uint64(t.id))
	key = binary.AppendUvarint(key, uint64(ctx))
	for _, p := range pieces {
		key = binary.AppendUvarint(key, uint64(c.fieldIDs[p.field]))
		key = binary.AppendUvarint(key, uint64(p.guard))
	}
	c.key = key
	return key
}

// partition splits the possible types of t into regions that no type condition
// reachable from the pieces tells apart.
func (c *compiler) partition(pieces []piece, t *outputType) []schema.TypeSet {
	if !t.abstract || t.possible.Empty() {
		return t.whole
	}
	c.now++
	c.typeStamp[t.id] = c.now
	regions := t.whole
	for _, p := range pieces {
		regions = c.conditions(regions, c.selections(p))
	}
	return regions
}

// conditions splits regions by each type condition in set, fields excluded.
func (c *compiler) conditions(regions []schema.TypeSet, set ast.SelectionSet) []schema.TypeSet {
	for _, s := range set {
		if c.spent(1) {
			return regions
		}
		switch s := s.(type) {
		case *ast.InlineFragment:
			regions = c.conditions(c.split(regions, s.TypeCondition), s.SelectionSet)
		case *ast.FragmentSpread:
			if r := c.rank[s.Definition]; c.stamp[r] != c.now {
				c.stamp[r] = c.now
				regions = c.conditions(c.split(regions, s.Definition.TypeCondition), s.Definition.SelectionSet)
			}
		}
	}
	return regions
}

func (c *compiler) split(regions []schema.TypeSet, condition string) []schema.TypeSet {
	if condition == "" {
		return regions
	}
	by := c.model.outputs[condition]
	if c.typeStamp[by.id] == c.now {
		return regions
	}
	c.typeStamp[by.id] = c.now
	c.p.work += len(regions) / passedPerWork
	return splitRegions(regions, by.possible)
}

// splitRegions splits each region into what is in by and what is not. It does
// not change its argument.
func splitRegions(regions []schema.TypeSet, by schema.TypeSet) []schema.TypeSet {
	for i, n := 0, len(regions); i < n; i++ {
		if !regions[i].Intersects(by) || regions[i].SubsetOf(by) {
			continue
		}
		outside := without(regions[i], by)
		regions = append(slices.Clip(regions), outside)
		regions[i] = regions[i].Intersect(by)
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

// region collects the fields of pieces for the object types, splits the region
// where a field's price depends on the object type, and pushes a draft for each
// part.
func (c *compiler) region(pieces []piece, types schema.TypeSet, ctx context) {
	found, cells := len(c.found), len(c.cells)
	typename := c.collect(pieces, first(types))
	collected := c.found[found:]
	if types.Len() == 1 {
		c.part(collected, types, typename, ctx)
	} else {
		parts := []schema.TypeSet{types}
		for i := range collected {
			for _, v := range c.variants(collected[i].field) {
				if c.spent(len(parts) / passedPerWork) {
					break
				}
				parts = splitRegions(parts, v.types)
			}
		}
		for _, part := range parts {
			c.part(collected, part, typename, ctx)
		}
	}
	c.found, c.cells = c.found[:found], c.cells[:cells]
}

// part prices what was collected for the object types, which agree on prices.
func (c *compiler) part(collected []occurrences, types schema.TypeSet, typename string, ctx context) {
	object := c.model.objects[first(types)]
	shared := types.Len() > 1
	// Groups push the members of their own scopes and pop them before they return.
	d := draft{types: types, typename: typename, members: span{lo: int32(len(c.members))}}
	for i := range collected {
		o := &collected[i]
		spec := object[o.field.Name]
		if spec == nil {
			continue
		}
		id := c.group(o, spec, shared, ctx)
		if c.spent(1) {
			return
		}
		c.members = append(c.members, member{group: id, guard: o.live})
	}
	d.members.hi = int32(len(c.members))
	c.drafts = append(c.drafts, d)
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
// It pushes what it finds and returns the response key of __typename, "" when
// that is not selected. Fragments are visited once each, after everything that
// may spread them.
func (c *compiler) collect(pieces []piece, object int) string {
	c.now++
	c.last = -1
	c.keys.Reset()
	w := collector{c: c, object: object, base: len(c.found)}
	for _, p := range pieces {
		w.walk(c.selections(p), p.guard)
	}
	for r := int32(0); r <= c.last; r++ {
		if c.stamp[r] == c.now {
			w.walk(c.order[r].SelectionSet, c.reach[r])
		}
	}
	return w.typename
}

type collector struct {
	c        *compiler
	object   int
	base     int // where the region's occurrences begin
	passed   int // type conditions that did not apply
	typename string
}

func (w *collector) walk(set ast.SelectionSet, guard int32) {
	c := w.c
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			c.p.work++
			if g := c.and(guard, c.condition(s.Directives)); g != neverLive {
				w.add(s, g)
			}
		case *ast.InlineFragment:
			if !w.applies(s.TypeCondition) {
				continue
			}
			c.p.work++
			if g := c.and(guard, c.condition(s.Directives)); g != neverLive {
				w.walk(s.SelectionSet, g)
			}
		case *ast.FragmentSpread:
			if !w.applies(s.Definition.TypeCondition) {
				continue
			}
			c.p.work++
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
	if condition == "" || w.c.model.outputs[condition].possible.Has(w.object) {
		return true
	}
	if w.passed++; w.passed%passedPerWork == 0 {
		w.c.p.work++
	}
	return false
}

func (w *collector) add(f *ast.Field, guard int32) {
	c := w.c
	if strings.HasPrefix(f.Name, "__") {
		if f.Name == "__typename" && (w.typename == "" || guard == alwaysLive) {
			w.typename = f.Alias
		}
		return
	}
	c.cells = append(c.cells, cell{piece: piece{f, guard}})
	id := int32(len(c.cells))
	i, isNew := c.keys.Number(f.Alias)
	if isNew {
		c.found = append(c.found, occurrences{field: f, first: id, last: id, live: guard})
		return
	}
	o := &c.found[w.base+int(i)]
	c.cells[o.last-1].next = id
	o.last = id
	o.live = c.or(o.live, guard)
}

// group prices one response key and compiles what is selected below it. shared
// says that several object types share the group.
func (c *compiler) group(o *occurrences, spec *fieldSpec, shared bool, ctx context) int32 {
	g := group{field: o.field, spec: spec, shared: shared, child: -1}
	c.price(&g, o, ctx)
	if spec.returns.composite {
		base := len(c.pieces)
		c.pushRelative(o)
		g.child = c.scope(c.pieces[base:], spec.returns, c.context(g.spec, g.expected, ctx))
		c.pieces = c.pieces[:base]
	}
	if c.exhausted {
		return -1
	}
	return c.p.addGroup(&g)
}

// price fills in a group without its child.
func (c *compiler) price(g *group, o *occurrences, ctx context) {
	spec := g.spec
	if ctx.flat && spec.byType {
		spec = c.flatSpec(spec)
		g.spec = spec
	}
	g.expected = c.expected(o.field, spec)
	g.length = c.listLength(spec, g.expected, ctx.sizes)
	g.call = spec.call
	g.terms.lo = int32(len(c.p.terms))
	for _, a := range spec.priced {
		var literal *ast.Value
		if arg := o.field.Arguments.ForName(a.name); arg != nil {
			literal = arg.Value
		}
		g.call += c.literalCost(literal, a, false)
	}
	g.terms.hi = int32(len(c.p.terms))
	g.extras = c.directiveCosts(o)
}

// pushRelative pushes the group's occurrences with guards relative to the group
// being live at all, so that equal selection sets meet in one scope.
func (c *compiler) pushRelative(o *occurrences) {
	for id := o.first; id != 0; id = c.cells[id-1].next {
		p := c.cells[id-1].piece
		if p.guard == o.live {
			p.guard = alwaysLive
		}
		c.pieces = append(c.pieces, p)
	}
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
	if (expected < 0 || len(spec.size.sized) == 0) && len(ctx.sizes) == 0 && !ctx.flat && !spec.flat {
		return 0
	}
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
	for id := o.first; id != 0; id = c.cells[id-1].next {
		p := c.cells[id-1].piece
		e := extra{guard: p.guard, terms: span{lo: int32(len(c.p.terms))}}
		for _, d := range p.field.Directives {
			for _, s := range c.model.directives[d.Name] {
				weighted = true
				var literal *ast.Value
				if arg := d.Arguments.ForName(s.name); arg != nil {
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
