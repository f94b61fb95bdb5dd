package answer

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/schema"
)

// maxSteps bounds the selections that one shape visits: places are found as the
// answer leads to them, and a document can lead to many.
const maxSteps = 4 << 20

// keptShapes bounds the shapes that a plan keeps for the next answer.
const keptShapes = 4

// fewFields is how many response keys are searched one by one.
const fewFields = 8

var errShape = errors.New("answer: the operation has too many different places")

// shape is the operation as answers show it: places, found as they are reached,
// under one set of @skip and @include. It is used by one answer at a time.
type shape struct {
	plan   *Plan
	vars   *schema.Variables
	live   []bool // of the operation's conditions
	root   *place
	places map[string]*place
	steps  int
	key    []byte
}

// place is where objects stand in the answer: the selection sets of some field
// nodes, merged.
type place struct {
	typ     *ast.Definition
	sets    []ast.SelectionSet
	single  int // the object type, where there can be but one; else -1
	objects map[int]*object
	reach   // of what the nodes select
}

// object is a place for one object type.
type object struct {
	fields []field
	byKey  map[string]int32 // where there are many
	cuts   []int32          // fields that are put in
	judges []judge
	wanted []string // response keys that judges read
	deeper bool     // judges stand below
}

// field is a response key of an object.
type field struct {
	key    string
	def    *ast.FieldDefinition
	nodes  []*ast.Field
	guard  int32  // of the plan; -1: allowed
	judge  int32  // of the object; -1: there is none
	cut    bool   // put in, whatever the upstream says of it
	asked  bool   // and yet the upstream was asked for it
	drop   bool   // denied items are left out
	noted  bool   // whether it may be seen is not the same everywhere: errors need to know where it was
	sub    *place // nil for leaves
	within reach  // what the value leads to
}

// walked reports whether the value must be looked at.
func (f *field) walked() bool { return f.guard >= 0 || f.within.touched }

// judge is a guard that is decided for each object.
type judge struct {
	guard int32
	reads *projection
}

// projection says how the object that a rule reads is made from what stands
// under the firewall's own keys.
type projection struct{ fields []projected }

type projected struct {
	alias  string
	name   []byte              // quoted, with its colon
	single int                 // the object type below; -1: by typeKey
	types  map[int]*projection // nil for a leaf
}

// shape returns a shape for the variables; release gives it back.
func (p *Plan) shape(vars *schema.Variables) *shape {
	var live []bool
	if len(p.op.Conditions) > 1 {
		live = p.op.Live(vars, nil)
	}
	p.mu.Lock()
	for i, s := range p.shapes {
		if slices.Equal(s.live, live) {
			p.shapes = slices.Delete(p.shapes, i, i+1)
			p.mu.Unlock()
			s.vars = vars
			return s
		}
	}
	p.mu.Unlock()
	s := &shape{plan: p, vars: vars, live: live, places: map[string]*place{}}
	root := p.op.Schema.Root(p.op.Kind)
	s.root = &place{
		typ: root, sets: []ast.SelectionSet{p.op.Definition.SelectionSet}, single: p.op.Schema.ObjectIndex(root.Name),
		objects: map[int]*object{}, reach: p.root,
	}
	return s
}

func (p *Plan) release(s *shape) {
	s.vars = nil
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.shapes) < keptShapes && s.steps < maxSteps/16 {
		p.shapes = append(p.shapes, s)
	}
}

// object returns the place for an object type.
func (s *shape) object(p *place, typ int) (*object, error) {
	if o := p.objects[typ]; o != nil {
		return o, nil
	}
	c := collector{s: s, typ: typ, o: &object{}, index: map[string]int{}, seen: map[string]bool{}}
	for _, set := range p.sets {
		c.collect(set)
	}
	if s.steps > maxSteps {
		return nil, errShape
	}
	o := c.o
	def := s.plan.op.Schema.Objects()[typ]
	for i := range o.fields {
		s.complete(o, &o.fields[i], def, typ)
		o.fields[i].noted = o.fields[i].noted || p.single < 0
		o.deeper = o.deeper || o.fields[i].sub != nil && o.fields[i].within.judged
		if o.fields[i].cut {
			o.cuts = append(o.cuts, int32(i))
		}
	}
	if len(o.fields) > fewFields {
		o.byKey = make(map[string]int32, len(o.fields))
		for i := range o.fields {
			o.byKey[o.fields[i].key] = int32(i)
		}
	}
	p.objects[typ] = o
	return o, nil
}

// collector is CollectFields of the specification (section 6.3.2).
type collector struct {
	s     *shape
	typ   int
	o     *object
	index map[string]int
	seen  map[string]bool
}

func (c *collector) collect(set ast.SelectionSet) {
	p := c.s.plan
	c.s.steps += 1 + len(set)
	if c.s.steps > maxSteps {
		return
	}
	for _, sel := range set {
		switch sel := sel.(type) {
		case *ast.Field:
			if !p.op.Includes(sel.Directives, c.s.vars) {
				continue
			}
			i, ok := c.index[sel.Alias]
			if !ok {
				i = len(c.o.fields)
				c.index[sel.Alias] = i
				c.o.fields = append(c.o.fields, field{key: sel.Alias})
			}
			c.o.fields[i].nodes = append(c.o.fields[i].nodes, sel)
		case *ast.InlineFragment:
			if p.op.Includes(sel.Directives, c.s.vars) && c.applies(sel.TypeCondition) {
				c.collect(sel.SelectionSet)
			}
		case *ast.FragmentSpread:
			if c.seen[sel.Name] || !p.op.Includes(sel.Directives, c.s.vars) {
				continue
			}
			c.seen[sel.Name] = true
			if f := p.fragments[sel.Name]; c.applies(f.TypeCondition) {
				c.collect(f.SelectionSet)
			}
		}
	}
}

func (c *collector) applies(condition string) bool {
	return condition == "" || c.s.plan.op.Schema.Possible(condition).Has(c.typ)
}

// complete fills in a field once its nodes are known.
func (s *shape) complete(o *object, f *field, def *ast.Definition, typ int) {
	p := s.plan
	f.def = p.op.Schema.Field(def, f.nodes[0].Name)
	f.guard, f.judge = -1, -1
	cut := 0
	for _, n := range f.nodes {
		if p.cut[n] {
			cut++
		}
		f.within.add(p.below[n])
		f.noted = f.noted || len(p.at[n]) > 0
		for _, i := range p.at[n] {
			if f.guard < 0 && p.guards[i].types.Has(typ) {
				f.guard = i
			}
		}
		f.drop = f.drop || p.drops[n].Has(typ)
	}
	// Where only some nodes of a response key are cut, others ask for it on other types too. The upstream may
	// then answer it here, in another place than the client's document has it.
	f.cut = cut == len(f.nodes) || cut > 0 && f.guard >= 0 && p.guards[f.guard].settled()
	f.asked = f.cut && cut < len(f.nodes)
	if f.guard >= 0 && p.guards[f.guard].judged && !f.cut {
		f.judge = int32(len(o.judges))
		j := judge{guard: f.guard, reads: p.guards[f.guard].projections[typ]}
		if j.reads == nil {
			j.reads = &projection{}
		}
		o.judges = append(o.judges, j)
		for i := range j.reads.fields {
			if a := j.reads.fields[i].alias; !slices.Contains(o.wanted, a) {
				o.wanted = append(o.wanted, a)
			}
		}
	}
	if len(f.nodes[0].SelectionSet) > 0 {
		f.sub = s.place(f)
	}
}

// place returns the place that a field's value is: fields with the same nodes
// and type share it.
func (s *shape) place(f *field) *place {
	s.key = s.key[:0]
	for _, n := range f.nodes {
		s.key = binary.LittleEndian.AppendUint32(s.key, s.plan.ids[n])
	}
	s.key = append(s.key, f.def.Type.Name()...)
	if p := s.places[string(s.key)]; p != nil {
		return p
	}
	p := &place{typ: s.plan.op.Schema.Type(f.def.Type.Name()), objects: map[int]*object{}, reach: f.within, single: -1}
	for _, n := range f.nodes {
		p.sets = append(p.sets, n.SelectionSet)
	}
	if p.typ.Kind == ast.Object {
		p.single = s.plan.op.Schema.ObjectIndex(p.typ.Name)
	}
	s.places[string(s.key)] = p
	return p
}

// guarded reports whether a guard may govern the field of a response key in one
// of the places, and the places that its value may be.
func (s *shape) guarded(places []*place, key string) (yes bool, below []*place, err error) {
	for _, p := range places {
		for typ := range s.plan.op.Schema.Objects() {
			if typ != p.single && (p.single >= 0 || !s.plan.op.Schema.Possible(p.typ.Name).Has(typ)) {
				continue
			}
			o, err := s.object(p, typ)
			if err != nil {
				return false, nil, err
			}
			i := o.find([]byte(key), 0)
			if i < 0 {
				continue
			}
			f := &o.fields[i]
			yes = yes || f.guard >= 0
			if f.sub != nil && f.within.touched && !slices.Contains(below, f.sub) {
				below = append(below, f.sub)
			}
		}
	}
	return yes, below, nil
}

// find returns the index of a response key among the object's fields, -1 when it
// is not selected. Answers keep the order of the document mostly, so the search
// begins at hint.
func (o *object) find(key []byte, hint int) int {
	if hint < len(o.fields) && o.fields[hint].key == string(key) {
		return hint
	}
	if o.byKey != nil {
		if i, ok := o.byKey[string(key)]; ok {
			return int(i)
		}
		return -1
	}
	for i := range o.fields {
		if o.fields[i].key == string(key) {
			return i
		}
	}
	return -1
}
