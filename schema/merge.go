package schema

import (
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// Field selection merging (specification section 5.3.2), after Simon Adameit's
// "GraphQL: Overlapping Fields Can Be Merged Fast" (XING 2019; proposed to
// graphql-js as issue 2185, taken up by sangria and graphql-java). Instead of
// comparing every two selections that may meet, the selection sets that meet in
// one place of the response are taken as one set. Its fields are grouped by
// response key, one representative is compared with the rest of its group, and
// the union of the group's own selection sets is the next place. Equality is
// transitive, so nothing is missed.
//
// Two demands are made of a group. All of its fields must have the same
// response shape, whatever they stand on. And those that can meet in one
// object, that is those which do not stand on different object types, must be
// the same field with the same arguments. Where a group stands on several
// object types the second demand, and that alone, goes on once for each type.
//
// A place that was checked is not checked again, whatever leads to it. What is
// left to an attacker is to let places be many different unions of the same
// selection sets. Where these agree wherever they meet, the unifier sees it
// without going to the places; where they do not, the compiler's allowance, which
// grows with the document, ends it.

// mergeMode says which of the two demands is made of a place.
type mergeMode uint8

const (
	mergeShapes mergeMode = 1 << iota
	mergeFields
)

// merger is the working memory of the check.
type merger struct {
	c     *compiler
	steps int

	aliases []int32 // by definition: its owner

	done   []mergeMode // by owner: selection sets that were a place of their own
	places map[string]struct{}
	key    []byte

	entries []mergeEntry // a stack: each place takes from its end
	owners  []int32      // likewise
	work    [][2]int32

	unifier unifier

	heads    []mergeHead // by response key
	position int32       // numbers the places
	visited  []int32     // by definition: the place that spread it last
}

// mergeEntry is a field of the current place; next chains its group, -1 ends it.
type mergeEntry struct {
	node, next int32
}

type mergeHead struct {
	position    int32
	first, last int32
}

func (m *merger) release() {
	m.c = nil
	clear(m.places)
	m.entries, m.owners, m.work = m.entries[:0], m.owners[:0], m.work[:0]
	m.unifier.release()
}

// mergeFields holds OverlappingFieldsCanBeMerged for every operation.
func (c *compiler) mergeFields() error {
	// Only where selection sets are spread can they meet in many ways.
	if len(c.spreads) > 0 && c.unify() {
		return nil
	}
	return c.mergePlaces()
}

// mergePlaces is mergeFields place by place.
func (c *compiler) mergePlaces() error {
	m := &c.merger
	m.c, m.steps, m.position = c, 0, 0
	m.alias(c)
	m.done = append(m.done[:0], make([]mergeMode, len(c.nodes)+len(c.defs))...)
	m.visited = append(m.visited[:0], make([]int32, len(c.defs))...)
	m.heads = append(m.heads[:0], make([]mergeHead, c.keys.Len())...)
	for i := c.fragmentCount; i < len(c.defs); i++ {
		m.owners = append(m.owners[:0], m.ownerOf(int32(len(c.nodes)+i)))
		if err := m.check(0, mergeShapes|mergeFields); err != nil {
			return err
		}
	}
	return nil
}

// An owner names a selection set: that of a field by the field's node, that of
// a definition by the number of nodes plus its index. ownerOf replaces a set
// that is nothing but a spread by the fragment's.
func (m *merger) ownerOf(owner int32) int32 {
	if start, end := m.span(owner); end-start == 1 && m.c.nodes[start].kind == nodeSpread {
		return m.aliases[m.c.nodes[start].fragment]
	}
	return owner
}

// alias finds the owner of each definition, fragments before their users.
func (m *merger) alias(c *compiler) {
	m.aliases = append(m.aliases[:0], make([]int32, len(c.defs))...)
	for _, i := range c.sorted {
		m.aliases[i] = m.ownerOf(int32(len(c.nodes)) + i)
	}
}

func (m *merger) span(owner int32) (start, end int32) {
	if n := int32(len(m.c.nodes)); owner >= n {
		d := &m.c.defs[owner-n]
		return d.start, d.end
	}
	return owner + 1, m.c.nodes[owner].end
}

// check checks the place that the selection sets owners[base:] make up, and
// takes them off the stack. It recurses once for each level of the response,
// which the depth limit bounds.
func (m *merger) check(base int, mode mergeMode) error {
	defer func() { m.owners = m.owners[:base] }()
	mode = m.unseen(base, mode)
	if mode == 0 {
		return nil
	}
	start := len(m.entries)
	defer func() { m.entries = m.entries[:start] }()
	if err := m.collect(base); err != nil {
		return err
	}
	groups := m.group(start)
	for _, first := range m.entries[groups:] {
		if err := m.checkGroup(first.node, mode); err != nil {
			return err
		}
	}
	return nil
}

// unseen sorts the place's owners, drops repetitions, and returns what of mode
// has not been checked of it before.
func (m *merger) unseen(base int, mode mergeMode) mergeMode {
	if len(m.owners)-base > 1 {
		slices.Sort(m.owners[base:])
		m.owners = m.owners[:base+len(slices.Compact(m.owners[base:]))]
	}
	owners := m.owners[base:]
	if len(owners) == 1 {
		mode &^= m.done[owners[0]]
		m.done[owners[0]] |= mode
		return mode
	}
	if m.places == nil {
		m.places = map[string]struct{}{}
	}
	for _, bit := range [...]mergeMode{mergeShapes, mergeFields} {
		if mode&bit == 0 {
			continue
		}
		m.key = append(m.key[:0], byte(bit))
		for _, o := range owners {
			m.key = append(m.key, byte(o), byte(o>>8), byte(o>>16), byte(o>>24))
		}
		if _, seen := m.places[string(m.key)]; seen {
			mode &^= bit
			continue
		}
		m.places[string(m.key)] = struct{}{}
	}
	return mode
}

// collect appends the fields of the place to entries, each fragment's once.
func (m *merger) collect(base int) error {
	c := m.c
	m.position++
	m.work = m.work[:0]
	for _, o := range m.owners[base:] {
		start, end := m.span(o)
		if i := o - int32(len(c.nodes)); i >= 0 {
			m.visited[i] = m.position
		}
		m.work = append(m.work, [2]int32{start, end})
	}
	for len(m.work) > 0 {
		span := m.work[len(m.work)-1]
		m.work = m.work[:len(m.work)-1]
		for i := span[0]; i < span[1]; i = c.nodes[i].end {
			m.steps++
			switch n := &c.nodes[i]; n.kind {
			case nodeField:
				m.entries = append(m.entries, mergeEntry{node: i, next: -1})
			case nodeInline:
				m.work = append(m.work, [2]int32{i + 1, n.end})
			case nodeSpread:
				if m.visited[n.fragment] != m.position {
					m.visited[n.fragment] = m.position
					m.work = append(m.work, [2]int32{c.defs[n.fragment].start, c.defs[n.fragment].end})
				}
			}
		}
		if m.steps > c.allowance {
			return limitAt(LimitWalk, m.steps, c.allowance, nil)
		}
	}
	return nil
}

// group chains entries[start:] by response key and appends one entry for each
// group that needs a look, whose node is the index of its first entry. It
// returns where these begin.
func (m *merger) group(start int) int {
	c := m.c
	end := len(m.entries)
	for i := start; i < end; i++ {
		h := &m.heads[c.nodes[m.entries[i].node].key]
		if h.position != m.position {
			*h = mergeHead{position: m.position, first: int32(i), last: int32(i)}
			continue
		}
		m.entries[h.last].next = int32(i)
		h.last = int32(i)
	}
	for i := start; i < end; i++ {
		n := m.entries[i].node
		if m.heads[c.nodes[n].key].first != int32(i) {
			continue
		}
		if m.entries[i].next >= 0 || c.nodes[n].end > n+1 {
			m.entries = append(m.entries, mergeEntry{node: int32(i), next: -1})
		}
	}
	return end
}

// checkGroup checks the fields of one response key, chained from entries[first].
func (m *merger) checkGroup(first int32, mode mergeMode) error {
	c := m.c
	if m.entries[first].next < 0 {
		return m.descend(first, -1, mode)
	}
	if mode&mergeShapes != 0 {
		if err := m.sameShape(first); err != nil {
			return err
		}
	}
	var object *typeInfo
	several := false
	for i := first; i >= 0; i = m.entries[i].next {
		if t := c.nodes[m.entries[i].node].parent; t.object {
			several = several || object != nil && object != t
			object = t
		}
	}
	if several {
		return m.checkTypes(first, mode)
	}
	if mode&mergeFields != 0 {
		for i := m.entries[first].next; i >= 0; i = m.entries[i].next {
			if err := m.sameField(m.entries[first].node, m.entries[i].node); err != nil {
				return err
			}
		}
	}
	return m.descend(first, -1, mode)
}

// descend checks the place below the chain that starts at entries[first], and
// below the one at entries[second] if that is not negative.
func (m *merger) descend(first, second int32, mode mergeMode) error {
	base := len(m.owners)
	for _, chain := range [...]int32{first, second} {
		for i := chain; i >= 0; i = m.entries[i].next {
			m.steps++
			if n := m.entries[i].node; m.c.nodes[n].end > n+1 {
				m.owners = append(m.owners, m.ownerOf(n))
			}
		}
	}
	if len(m.owners) == base {
		return nil
	}
	return m.check(base, mode)
}

// checkTypes is checkGroup for fields that stand on several object types.
func (m *merger) checkTypes(first int32, mode mergeMode) error {
	c := m.c
	if mode&mergeShapes != 0 {
		if err := m.descend(first, -1, mergeShapes); err != nil {
			return err
		}
	}
	if mode&mergeFields == 0 {
		return nil
	}
	// The chain anew, by type: abstract ones, then each object type's.
	base := len(m.entries)
	for i := first; i >= 0; i = m.entries[i].next {
		m.entries = append(m.entries, mergeEntry{node: m.entries[i].node})
	}
	rank := func(e mergeEntry) int32 {
		if t := c.nodes[e.node].parent; t.object {
			return t.set
		}
		return -1
	}
	slices.SortStableFunc(m.entries[base:], func(a, b mergeEntry) int { return int(rank(a) - rank(b)) })
	end := len(m.entries)
	defer func() { m.entries = m.entries[:base] }()
	for i := base; i < end; i++ {
		m.entries[i].next = -1
		if i+1 < end && rank(m.entries[i]) == rank(m.entries[i+1]) {
			m.entries[i].next = int32(i + 1)
		}
	}
	abstract := int32(-1)
	if rank(m.entries[base]) < 0 {
		abstract = int32(base)
	}
	for i := base; i < end; i++ {
		chain, representative := int32(i), int32(i)
		if abstract >= 0 {
			representative = abstract
		}
		for ; m.entries[i].next >= 0; i++ {
			if err := m.sameField(m.entries[representative].node, m.entries[i].node); err != nil {
				return err
			}
		}
		if err := m.sameField(m.entries[representative].node, m.entries[i].node); err != nil {
			return err
		}
		if chain == abstract {
			continue
		}
		if err := m.descend(chain, abstract, mergeFields); err != nil {
			return err
		}
		if m.steps > c.allowance {
			return limitAt(LimitWalk, m.steps, c.allowance, nil)
		}
	}
	return nil
}

// sameShape demands one response shape of a chain. The meta fields, of which
// graphql-js knows no type there, fit any.
func (m *merger) sameShape(first int32) error {
	var typed *node
	for i := first; i >= 0; i = m.entries[i].next {
		n := &m.c.nodes[m.entries[i].node]
		switch {
		case n.info.shape < 0:
		case typed == nil:
			typed = n
		case typed.info.shape != n.info.shape:
			return conflict(n, "they return conflicting types "+
				quoted(typed.info.def.Type.String())+" and "+quoted(n.info.def.Type.String()))
		}
	}
	return nil
}

// sameField demands the same name and arguments of two nodes.
func (m *merger) sameField(a, b int32) error {
	if a == b {
		return nil
	}
	x, y := &m.c.nodes[a], &m.c.nodes[b]
	if x.field.Name != y.field.Name {
		return conflict(y, quoted(x.field.Name)+" and "+quoted(y.field.Name)+" are different fields")
	}
	if !sameArguments(x.field.Arguments, y.field.Arguments) {
		return conflict(y, "they have differing arguments")
	}
	return nil
}

func conflict(n *node, reason string) error {
	return invalidAt("OverlappingFieldsCanBeMerged", n.field.Position, "Fields "+quoted(n.field.Alias)+
		" conflict because "+reason+". Use different aliases on the fields to fetch both if this was intentional.")
}

// sameArguments compares arguments, unique in each list, whatever their order.
func sameArguments(a, b ast.ArgumentList) bool {
	if len(a) != len(b) {
		return false
	}
	for i, x := range a {
		y := b[i]
		if x.Name != y.Name {
			if y = b.ForName(x.Name); y == nil {
				return false
			}
		}
		if !sameLiteral(x.Value, y.Value) {
			return false
		}
	}
	return true
}

// sameLiteral compares literals as written, the members of objects, which are
// unique, in whatever order. It recurses as deep as values nest.
func sameLiteral(a, b *ast.Value) bool {
	if a.Kind != b.Kind || a.Raw != b.Raw || len(a.Children) != len(b.Children) {
		return false
	}
	if a.Kind != ast.ObjectValue {
		for i := range a.Children {
			if !sameLiteral(a.Children[i].Value, b.Children[i].Value) {
				return false
			}
		}
		return true
	}
	x, y := a.Children, b.Children
	if !sameNames(x, y) {
		x, y = byName(x), byName(y)
		if !sameNames(x, y) {
			return false
		}
	}
	for i := range x {
		if !sameLiteral(x[i].Value, y[i].Value) {
			return false
		}
	}
	return true
}

func sameNames(a, b ast.ChildValueList) bool {
	for i := range a {
		if a[i].Name != b[i].Name {
			return false
		}
	}
	return true
}

func byName(list ast.ChildValueList) ast.ChildValueList {
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, func(a, b *ast.ChildValue) int { return strings.Compare(a.Name, b.Name) })
	return sorted
}
