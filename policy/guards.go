package policy

import (
	"bytes"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	gql "github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/schema"
)

// boundNode is a field node of the document with every use of it that rules
// govern. A node has one answer for each object type, whatever the way to it.
type boundNode struct {
	field *gql.Field
	uses  []int32 // indexes Binding.uses
	// bit is the identity verdict that all uses have; -1 where there are
	// several, or others.
	bit int
}

// nodes gathers the uses of each node, in the operation's order. Only
// denials ask, so an operation that has none never pays for it.
func (b *Binding) nodes() []boundNode {
	b.gather.Do(b.bindNodes)
	return b.gathered
}

func (b *Binding) bindNodes() {
	at := make(map[*gql.Field]int, len(b.uses))
	b.gathered = make([]boundNode, 0, len(b.uses))
	for i := range b.uses {
		field := b.op.Uses[b.uses[i].use].Field
		n, ok := at[field]
		if !ok {
			n = len(b.gathered)
			at[field] = n
			b.gathered = append(b.gathered, boundNode{field: field})
		}
		b.gathered[n].uses = append(b.gathered[n].uses, int32(i))
	}
	for i := range b.gathered {
		b.gathered[i].bit = b.onlyBit(b.gathered[i].uses)
	}
}

func (b *Binding) onlyBit(uses []int32) int {
	bit := -1
	for _, i := range uses {
		for _, at := range b.of(&b.uses[i]) {
			v := at.verdict
			if !v.identity || bit >= 0 && v.bit != bit {
				return -1
			}
			bit = v.bit
		}
	}
	return bit
}

// outcome is what rules say of one node on one object type.
type outcome struct {
	typ    int
	denied bool
	custom bool // the policy gave the denial's code or message
	denial Denial
	object *ObjectRule
	mask   *Mask
}

// same reports whether two outcomes need one guard.
func (o *outcome) same(p *outcome) bool {
	return o.denied == p.denied && o.object == p.object && o.mask.equal(p.mask) && o.custom == p.custom &&
		o.denial.Code == p.denial.Code && (!o.custom || o.denial.Message == p.denial.Message)
}

func (m *Mask) equal(n *Mask) bool {
	if m == nil || n == nil {
		return m == n
	}
	return m.Function == n.Function && m.Whole == n.Whole && bytes.Equal(m.Value, n.Value) && slices.EqualFunc(m.Arguments, n.Arguments, bytes.Equal)
}

// guards fills in what the answer must be guarded against, and adds to refused
// the fields whose denial refuses the operation.
func (s *session) guards(b *Binding, d *Decision, refused *[]Denial) error {
	id, err := s.identity()
	if err != nil {
		return err
	}
	var rules objectRules
	var all []outcome // of one node after the other
	nodes := b.nodes()
	for i := range nodes {
		if bit := nodes[i].bit; bit >= 0 && id.errors == nil && id.allowed.has(bit) {
			continue
		}
		if all, err = s.outcomes(b, id, &nodes[i], &rules, all[:0]); err != nil {
			return err
		}
		if outcomes := s.refusing(b, all, refused); len(outcomes) > 0 {
			d.Guards = append(d.Guards, b.merge(&nodes[i], outcomes)...)
		}
	}
	if len(d.Guards) == 0 || !s.engine.filter {
		return nil
	}
	return s.findDrops(b, d)
}

// outcomes asks the rules for every object type that the node's live uses may
// have, and appends what they say to out; nothing where all are allowed.
func (s *session) outcomes(b *Binding, id *identityAnswer, n *boundNode, rules *objectRules, out []outcome) ([]outcome, error) {
	if ok, err := s.allAllowed(b, id, n); ok || err != nil {
		return out, err
	}
	for _, i := range n.uses {
		u := &b.uses[i]
		if !s.isLive(b, u.use) {
			continue
		}
		for _, at := range b.of(u) {
			typ := s.engine.schema.ObjectIndex(at.typ)
			if slices.ContainsFunc(out, func(o outcome) bool { return o.typ == typ }) {
				continue
			}
			o := outcome{typ: typ}
			ok, err := s.decide(b, id, u.use, at.verdict)
			if err == nil && !ok {
				o, err = s.denied(b, u.use, at, rules)
				o.typ = typ
			}
			if err != nil {
				return nil, err
			}
			out = append(out, o)
		}
	}
	return out, nil
}

// allAllowed is what outcomes asks of most nodes, without keeping anything.
func (s *session) allAllowed(b *Binding, id *identityAnswer, n *boundNode) (bool, error) {
	for _, i := range n.uses {
		u := &b.uses[i]
		if !s.isLive(b, u.use) {
			continue
		}
		for _, at := range b.of(u) {
			if ok, err := s.decide(b, id, u.use, at.verdict); err != nil || !ok {
				return false, err
			}
		}
	}
	return true, nil
}

// denied describes a position that no rule allows before the answer is there.
func (s *session) denied(b *Binding, use int32, at *boundCoordinate, rules *objectRules) (outcome, error) {
	o := outcome{denied: true, denial: Denial{Kind: DenyField, Coordinate: at.name, Path: b.op.Path(int(use)), Field: b.op.Uses[use].Field, use: use}}
	if at.rule != nil {
		o.denial.Rule, o.denial.Reads = at.rule.rule, at.rule.paths
	}
	code, message := CodeForbidden, fieldMessage(at.name)
	o.denial.Code, o.denial.Message = code, message
	if err := s.customize(b, &o.denial); err != nil {
		return o, err
	}
	o.custom = o.denial.Code != code || o.denial.Message != message
	if at.verdict.object {
		s.facts.use, s.facts.value = &b.op.Uses[use], schema.Value{}
		_, never, err := s.objects(at.verdict)
		if err != nil {
			return o, err
		}
		if !never || !s.engine.filter {
			o.object = rules.bind(s, b, use, at)
		}
	}
	var err error
	o.mask, err = s.mask(b, use, at.coordinate)
	return o, err
}

func fieldMessage(coordinate string) string { return "You may not read " + coordinate }

// refusing moves the denials that refuse the operation to refused and returns
// the outcomes when others remain to be guarded.
func (s *session) refusing(b *Binding, outcomes []outcome, refused *[]Denial) []outcome {
	kept := false
	for i := range outcomes {
		o := &outcomes[i]
		if !o.denied {
			continue
		}
		if o.object == nil && o.mask == nil && !s.filters(b, o.denial.use) {
			*refused = append(*refused, o.denial)
			continue
		}
		kept = true
	}
	if !kept {
		return nil
	}
	return outcomes
}

// filters reports whether a denial costs the client the field alone.
func (s *session) filters(b *Binding, use int32) bool {
	if b.op.Kind != gql.Query && b.op.Uses[use].Up < 0 {
		return s.engine.filterMutation && b.op.Kind == gql.Mutation
	}
	return s.engine.filter
}

// merge makes guards of a node's outcomes: one for the types that are denied
// alike. A node that is denied on every type needs no telling apart of types,
// so that it need not be asked for: the first type's denial stands for all.
func (b *Binding) merge(n *boundNode, outcomes []outcome) []Guard {
	slices.SortFunc(outcomes, func(a, b outcome) int { return a.typ - b.typ })
	whole := !slices.ContainsFunc(outcomes, func(o outcome) bool { return !o.denied || o.object != nil || o.mask != nil })
	if whole {
		for i := range outcomes[1:] {
			typ := outcomes[i+1].typ
			outcomes[i+1] = outcomes[0]
			outcomes[i+1].typ = typ
		}
	}
	var guards []Guard
	var first []*outcome
	for i := range outcomes {
		o := &outcomes[i]
		if !o.denied {
			continue
		}
		g := slices.IndexFunc(first, o.same)
		if g < 0 {
			g = len(guards)
			first = append(first, o)
			guards = append(guards, Guard{Field: n.field, Types: make(schema.TypeSet, (len(b.engine.schema.Objects())+63)/64), Denial: o.denial, Object: o.object, Mask: o.mask})
		}
		add(guards[g].Types, o.typ)
		if at := b.op.Uses[o.denial.use].Coordinate(); g >= 0 && first[g] != o && !whole && guards[g].Denial.Coordinate != at {
			guards[g].Denial.Coordinate = at
			if !o.custom {
				guards[g].Denial.Message = fieldMessage(at)
			}
		}
	}
	if len(guards) == 1 {
		guards[0].Whole = !slices.ContainsFunc(outcomes, func(o outcome) bool { return !o.denied })
	}
	return guards
}

func add(set schema.TypeSet, i int) { set[i>>6] |= 1 << (uint(i) & 63) }

// mask asks for the mask of a denied coordinate, in the order in which errors
// are looked up; nil where there is none, or none that fits the field.
func (s *session) mask(b *Binding, use int32, at coordinate) (*Mask, error) {
	e := s.engine
	if e.masks.empty() {
		return nil, nil
	}
	f := b.op.Uses[use].Field.Definition
	if def := e.schema.Type(at.typ); def != nil {
		f = def.Fields.ForName(at.field) // an object may narrow its interface's type
	}
	if f == nil || !e.canMask(at.typ, f) {
		return nil, nil
	}
	s.facts.use, s.facts.value = &b.op.Uses[use], schema.Value{}
	v, err := s.find(&e.masks, at)
	if v == nil || err != nil {
		return nil, err
	}
	if m, err := e.newMask(f.Type, v); err == nil {
		return m, nil
	}
	return nil, nil
}

// find returns the value of the first rule for a coordinate that has one.
func (s *session) find(l *lookup, at coordinate) (*ast.Term, error) {
	_, v, err := s.first(l, at)
	return v, err
}

// first returns the first class for a coordinate that has a value, and the value.
func (s *session) first(l *lookup, at coordinate) (*class, *ast.Term, error) {
	for _, step := range steps(at.typ, at.field) {
		rule := l.static[step]
		if rule != nil {
			if v, err := s.value(rule); v != nil || err != nil {
				return rule, v, err
			}
		}
		for _, c := range l.vars {
			if !matches(c.group.match, step) {
				continue
			}
			v, err := s.value(c)
			if err == nil {
				v = member(member(v, step.typ), step.field)
			}
			if v != nil || err != nil {
				return c, v, err
			}
		}
		if rule != nil {
			break
		}
	}
	return nil, nil, nil
}

// findDrops finds the list fields whose denied items are left out.
func (s *session) findDrops(b *Binding, d *Decision) error {
	if s.engine.drops.empty() {
		return nil
	}
	nodes := b.nodes()
	for i := range nodes {
		n := &nodes[i]
		if n.field.Definition == nil || n.field.Definition.Type.Elem == nil {
			continue
		}
		drop := Drop{Field: n.field}
		for _, j := range n.uses {
			u := &b.uses[j]
			if !s.isLive(b, u.use) {
				continue
			}
			s.facts.use, s.facts.value = &b.op.Uses[u.use], schema.Value{}
			for _, at := range b.of(u) {
				v, err := s.find(&s.engine.drops, at.coordinate)
				if err != nil {
					return err
				}
				if !isTrue(v) {
					continue
				}
				if drop.Types == nil {
					drop.Types = make(schema.TypeSet, (len(s.engine.schema.Objects())+63)/64)
				}
				add(drop.Types, s.engine.schema.ObjectIndex(at.typ))
			}
		}
		if drop.Types != nil {
			d.Drops = append(d.Drops, drop)
		}
	}
	return nil
}
