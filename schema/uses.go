package schema

// walker is the working memory that finds an operation's field uses.
//
// A scope is a selection set, of a field, an inline fragment or a fragment
// definition, together with a set of object types that the value there may
// have. Each scope is visited once, however many ways lead to it.
type walker struct {
	c  *compiler
	op *Operation

	narrowing bool
	scopes    []scope
	first     []int32 // by selection set's first node: its first scope, plus one
	edges     []scopeEdge
	stack     []int32
	sorted    []int32 // scopes, children before parents
	steps     int
	uses      int
	entries   int // arguments listed, given or not
	arguments int // arguments given

	sets     []TypeSet // those that are no type's own
	narrowed map[[2]int32]int32
	contents map[string]int32
	bytes    []byte

	lists slab[*Argument]
	given slab[Argument]

	incoming []scopeCondition
	conds    map[guard]int32
	never    int32
}

type scope struct {
	start, end int32
	set        int32
	next       int32 // the next scope of the same selection set, plus one
	edge       int32 // edges[edge:edgeEnd] leave it, in document order
	edgeEnd    int32
	walked     int32 // edges not yet walked begin before this one
	up         int32 // use that it is below of; -1 at the root, -2 while unknown
	incoming   int32 // conditions to reach it: a chain in walker.incoming, plus one
	always     bool
}

// scopeEdge leads from a node of one scope to the scope of the node's own set.
type scopeEdge struct {
	node, to int32
}

type scopeCondition struct {
	cond, next int32
}

// guard is a variable, the value that it must have and the condition before it.
type guard struct {
	variable, before int32
	want             bool
}

const unknownUp = -2

func (w *walker) release() {
	clear(w.sets)
	w.c, w.op = nil, nil
	w.lists.release()
	w.given.release()
	w.scopes, w.edges, w.stack, w.sorted = w.scopes[:0], w.edges[:0], w.stack[:0], w.sorted[:0]
	w.sets, w.incoming = w.sets[:0], w.incoming[:0]
	clear(w.narrowed)
	clear(w.contents)
	clear(w.conds)
}

// findUses fills in op.Uses and op.Conditions.
func (c *compiler) findUses(op *Operation, chosen int32) error {
	w := &c.walker
	w.c, w.op = c, op
	w.narrowing = true
	if !w.discover(chosen) {
		// Too many distinct sets: take each selection set with all the object
		// types of the type that it stands on, a superset.
		w.narrowing = false
		w.discover(chosen)
	}
	op.Conditions = append(make([]Condition, 0, 1), Condition{Var: -1})
	op.Uses = make([]FieldUse, 0, w.uses)
	w.never, w.entries, w.arguments = -1, 0, 0
	w.scopes[0].up, w.scopes[0].always = -1, true
	for i := len(w.sorted) - 1; i >= 0; i-- {
		if err := w.emit(&w.scopes[w.sorted[i]]); err != nil {
			return err
		}
	}
	return nil
}

// discover finds the scopes below the operation and sorts them. It reports
// false when narrowing makes more of them than the walk budget allows.
func (w *walker) discover(chosen int32) bool {
	c := w.c
	w.scopes, w.edges, w.stack, w.sorted = w.scopes[:0], w.edges[:0], w.stack[:0], w.sorted[:0]
	w.first = append(w.first[:0], make([]int32, len(c.nodes)+1)...)
	w.steps, w.uses = 0, 0
	d := &c.defs[chosen]
	root, _ := w.scope(d.start, d.end, d.typ.set)
	w.open(root)
	for len(w.stack) > 0 {
		i := w.stack[len(w.stack)-1]
		s := &w.scopes[i]
		if s.walked == s.edge {
			w.stack = w.stack[:len(w.stack)-1]
			w.sorted = append(w.sorted, i)
			continue
		}
		s.walked--
		e := &w.edges[s.walked]
		// The scope is only now looked for: it must not be found before it is opened.
		to, isNew := w.target(s, e.node)
		e.to = to
		if isNew {
			w.open(to)
		}
		if w.narrowing && w.steps > c.allowance {
			return false
		}
	}
	return true
}

// open lists the edges that leave a new scope.
func (w *walker) open(i int32) {
	s := &w.scopes[i]
	s.edge = int32(len(w.edges))
	for k := s.start; k < s.end; k = w.c.nodes[k].end {
		n := &w.c.nodes[k]
		w.steps++
		if n.kind == nodeField {
			w.uses++
			if n.end == k+1 {
				continue
			}
		}
		w.edges = append(w.edges, scopeEdge{node: k})
	}
	s.edgeEnd = int32(len(w.edges))
	s.walked = s.edgeEnd
	w.stack = append(w.stack, i)
}

// target returns the scope of a node's own selection set, reached from s.
func (w *walker) target(s *scope, k int32) (to int32, isNew bool) {
	n := &w.c.nodes[k]
	switch n.kind {
	case nodeField:
		return w.scope(k+1, n.end, n.typ.set)
	case nodeInline:
		return w.scope(k+1, n.end, w.narrow(s.set, n.typ))
	}
	d := &w.c.defs[n.fragment]
	return w.scope(d.start, d.end, w.narrow(s.set, n.typ))
}

func (w *walker) scope(start, end, set int32) (i int32, isNew bool) {
	for at := w.first[start]; at > 0; at = w.scopes[at-1].next {
		if w.scopes[at-1].set == set {
			return at - 1, false
		}
		w.steps++
	}
	w.scopes = append(w.scopes, scope{start: start, end: end, set: set, next: w.first[start], up: unknownUp})
	w.first[start] = int32(len(w.scopes))
	return int32(len(w.scopes)) - 1, true
}

func (w *walker) set(id int32) TypeSet {
	if own := len(w.c.types.sets); int(id) >= own {
		return w.sets[int(id)-own]
	}
	return w.c.types.sets[id]
}

// narrow returns the number of the set's intersection with typ's object types.
// Equal sets have one number.
func (w *walker) narrow(set int32, typ *typeInfo) int32 {
	if set == typ.set || !w.narrowing {
		return typ.set
	}
	key := [2]int32{set, typ.set}
	if id, ok := w.narrowed[key]; ok {
		return id
	}
	if w.narrowed == nil {
		w.narrowed, w.contents = map[[2]int32]int32{}, map[string]int32{}
	}
	id := w.intern(w.set(set), typ)
	if w.set(id).Equal(w.set(set)) {
		id = set
	}
	w.narrowed[key] = id
	return id
}

func (w *walker) intern(set TypeSet, typ *typeInfo) int32 {
	w.steps += len(set)
	common := set.Intersect(typ.possible)
	w.bytes = common.appendKey(w.bytes[:0])
	if id, ok := w.c.types.setIDs[string(w.bytes)]; ok {
		return id
	}
	if id, ok := w.contents[string(w.bytes)]; ok {
		return id
	}
	id := int32(len(w.c.types.sets) + len(w.sets))
	w.sets = append(w.sets, common)
	w.contents[string(w.bytes)] = id
	return id
}

// emit appends the uses of a scope, all ways to which have been emitted.
func (w *walker) emit(s *scope) error {
	c := w.c
	cond := w.reached(s)
	objects := w.set(s.set)
	if objects.Empty() {
		cond = w.neverHolds()
	}
	edge := s.edge
	for k := s.start; k < s.end; k = c.nodes[k].end {
		n := &c.nodes[k]
		here := w.directives(n.directives(), cond)
		up := s.up
		if n.kind == nodeField {
			args, err := w.argumentsOf(n)
			if err != nil {
				return err
			}
			up = int32(len(w.op.Uses))
			w.op.Uses = append(w.op.Uses, FieldUse{
				Field: n.field, Parent: n.parent.def, Objects: objects, Args: args, Cond: here, Up: s.up, info: n.info,
			})
		}
		if edge == s.edgeEnd || w.edges[edge].node != k {
			continue
		}
		to := &w.scopes[w.edges[edge].to]
		edge++
		if to.up == unknownUp {
			to.up = up
		}
		if here == 0 {
			to.always = true
		} else if !to.always {
			w.incoming = append(w.incoming, scopeCondition{cond: here, next: to.incoming})
			to.incoming = int32(len(w.incoming))
		}
	}
	return nil
}

// argumentsOf returns FieldUse.Args, which all uses of a selection share.
func (w *walker) argumentsOf(n *node) ([]*Argument, error) {
	given := n.field.Arguments
	if len(given) == 0 {
		return n.info.omitted, nil
	}
	if n.args != nil {
		return n.args, nil
	}
	if w.entries += len(n.info.omitted); w.entries > w.c.limits.Walk {
		return nil, limitAt(LimitWalk, w.entries, w.c.limits.Walk, n.field.Position)
	}
	n.args = w.lists.copied(n.info.omitted)
	for _, a := range given {
		i := n.info.args.find(a.Name)
		arg, err := w.c.schema.argument(n.info.args.list[i].def, a.Value, w.variable)
		if err != nil {
			return nil, err
		}
		n.args[i] = w.given.one()
		*n.args[i] = arg
	}
	w.arguments += len(given)
	return n.args, nil
}

// variable returns a variable's index in Operation.Variables, or -1.
func (w *walker) variable(name string) int32 {
	if i, ok := w.c.variables[name]; ok {
		return i
	}
	return -1
}

// Coordinate is the field coordinate of the selection: "Parent.field", where
// Parent is the type that it is selected on, which may be abstract.
func (u *FieldUse) Coordinate() string {
	if u.info != nil {
		return u.info.coordinate
	}
	return u.Parent.Name + "." + u.Field.Name
}

// Index is [Schema.FieldIndex] of the use's coordinate, in the schema that the
// operation was compiled for.
func (u *FieldUse) Index() int { return u.info.index }

// OnObject reports whether Parent is an object type, so that the use can be
// resolved on no other.
func (u *FieldUse) OnObject() bool { return u.info != nil && u.info.parent.object }

// Path returns the response keys of the first route to the use, from the root.
func (op *Operation) Path(use int) []string {
	n := 0
	for i := int32(use); i >= 0; i = op.Uses[i].Up {
		n++
	}
	path := make([]string, n)
	for i := int32(use); i >= 0; i = op.Uses[i].Up {
		n--
		path[n] = op.Uses[i].Field.Alias
	}
	return path
}
