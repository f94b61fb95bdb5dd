package schema

// unifier decides in time nearly linear in the document that no two fields can
// conflict. It errs on the side of not knowing.
//
// It takes every two selection sets that meet anywhere for one, as Huet's
// unification closure does with terms: a selection set and the fragments that it
// spreads are one class, and so are the sets of two fields of one class that have
// one response key. Fields that meet in some place of the response are then in
// one slot, that is class and key, but so are some that never meet: two selection
// sets that spread the same fragment are one class. If each slot holds one field
// with one shape and equal arguments, nothing can conflict. Otherwise the merger
// has to look place by place, of which there can be exponentially many.
type unifier struct {
	c     *compiler
	steps int

	parent  []int32 // by owner: union by size, the root of a class is its own parent
	lists   []slotList
	slots   []slot
	table   map[uint64]int32 // class and key to slot
	pending [][2]int32       // owners that must become one class
}

// slotList chains the slots of a class by slot.next, from first-1 to last-1.
type slotList struct {
	first, last, count int32
}

type slot struct {
	key   int32
	next  int32 // plus one
	field int32 // the node that stands for all fields
	typed int32 // one of them that has a shape; -1 when none has
	child int32 // the owner of the fields' selection sets; -1 for leaves
}

func (u *unifier) release() {
	u.c = nil
	clear(u.table)
	u.slots, u.pending = u.slots[:0], u.pending[:0]
}

// unify reports whether it is certain that no two fields of the document
// conflict.
func (c *compiler) unify() bool {
	u := &c.merger.unifier
	u.c, u.steps = c, 0
	n := len(c.nodes) + len(c.defs)
	u.parent = append(u.parent[:0], make([]int32, n)...)
	for i := range u.parent {
		u.parent[i] = int32(i)
	}
	u.lists = append(u.lists[:0], make([]slotList, n)...)
	u.slots, u.pending = u.slots[:0], u.pending[:0]
	if u.table == nil {
		u.table = map[uint64]int32{}
	}
	clear(u.table)
	for i := range c.defs {
		d := &c.defs[i]
		if !u.set(d.start, d.end, int32(len(c.nodes)+i)) {
			return false
		}
	}
	return true
}

// set adds the selections nodes[start:end] to the owner's class, and what is
// below them to their own. It recurses as deep as selection sets nest, which
// scan bounds.
func (u *unifier) set(start, end, owner int32) bool {
	nodes := u.c.nodes
	for i := start; i < end; i = nodes[i].end {
		ok := true
		switch n := &nodes[i]; n.kind {
		case nodeField:
			s := slot{key: n.key, field: i, typed: -1, child: -1}
			if n.info.shape >= 0 {
				s.typed = i
			}
			if n.end > i+1 {
				s.child = i
			}
			ok = u.add(s, owner) && u.settle() && u.set(i+1, n.end, i)
		case nodeInline:
			ok = u.set(i+1, n.end, owner)
		case nodeSpread:
			u.pending = append(u.pending, [2]int32{owner, int32(len(nodes)) + n.fragment})
			ok = u.settle()
		}
		if !ok {
			return false
		}
	}
	return true
}

func (u *unifier) find(owner int32) int32 {
	for u.parent[owner] != owner {
		u.parent[owner] = u.parent[u.parent[owner]]
		owner = u.parent[owner]
	}
	return owner
}

// add puts a new slot into the owner's class.
func (u *unifier) add(s slot, owner int32) bool {
	class := u.find(owner)
	at := uint64(class)<<32 | uint64(s.key)
	u.steps++
	if known, ok := u.table[at]; ok {
		return u.join(&u.slots[known], &s)
	}
	u.slots = append(u.slots, s)
	u.append(class, at, int32(len(u.slots)-1))
	return true
}

// append puts slot id, whose key the class does not have, at the end of its list.
func (u *unifier) append(class int32, at uint64, id int32) {
	u.table[at] = id
	list := &u.lists[class]
	if list.count == 0 {
		list.first = id + 1
	} else {
		u.slots[list.last-1].next = id + 1
	}
	list.last = id + 1
	list.count++
}

// join makes one slot of two. It reports false where they differ.
func (u *unifier) join(s, o *slot) bool {
	nodes := u.c.nodes
	switch {
	case o.typed < 0:
	case s.typed < 0:
		s.typed = o.typed
	case nodes[s.typed].info.shape != nodes[o.typed].info.shape:
		return false
	}
	x, y := nodes[s.field].field, nodes[o.field].field
	if x.Name != y.Name || !sameArguments(x.Arguments, y.Arguments) {
		return false
	}
	if o.child >= 0 {
		if s.child >= 0 {
			u.pending = append(u.pending, [2]int32{s.child, o.child})
		} else {
			s.child = o.child
		}
	}
	return true
}

// settle makes one class of each pending pair and of what follows from it. The
// slots of the smaller class move: each moves at most a logarithm of times.
func (u *unifier) settle() bool {
	for len(u.pending) > 0 {
		pair := u.pending[len(u.pending)-1]
		u.pending = u.pending[:len(u.pending)-1]
		a, b := u.find(pair[0]), u.find(pair[1])
		u.steps++
		if a == b {
			continue
		}
		if u.lists[a].count < u.lists[b].count {
			a, b = b, a
		}
		u.parent[b] = a
		for i := u.lists[b].first; i > 0; {
			s := &u.slots[i-1]
			id := i - 1
			i, s.next = s.next, 0
			at := uint64(a)<<32 | uint64(s.key)
			u.steps++
			if known, ok := u.table[at]; ok {
				if !u.join(&u.slots[known], s) {
					return false
				}
				continue
			}
			u.append(a, at, id)
		}
		u.lists[b] = slotList{}
	}
	return true
}
