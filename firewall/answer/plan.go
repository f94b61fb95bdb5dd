package answer

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/schema"
)

// Prefix begins the response keys that are the firewall's own: an answer's
// members of that name never reach a client.
const Prefix = "graphward_"

// typeKey is the response key of the __typename that is asked for.
const typeKey = Prefix + "t"

// Guard is what the answer must be guarded against at one field node, for some
// object types that its parent may have. A node and a type without a guard is
// allowed.
type Guard struct {
	// Field is the node in the operation's document.
	Field *ast.Field
	// Types are the object types for which the guard holds.
	Types schema.TypeSet
	// Whole says that Types has every object type on which the field can be
	// answered; New finds that out by itself where all uses of it are live.
	Whole bool
	// Code and Message are those of the error at a denied position.
	Code, Message string
	// Rule decides for each parent object; nil: denied already.
	Rule Rule
	// Parents are the fields that Rule reads, by object type.
	Parents []Parent
	// Mask replaces the value of a denied position; nil: it becomes null.
	Mask Mask
	// Constant is set in place of Mask's function where the mask is one value,
	// JSON, whatever stands there. It goes with a Mask that is not nil.
	Constant []byte
	// Position says that Constant stands for the whole value of a list field,
	// not for each of its leaves.
	Position bool
}

// Rule decides for parent objects, given as JSON objects with the fields of
// Guard.Parents under their own names. An error ends the answer.
type Rule interface {
	Judge(ctx context.Context, parents [][]byte) ([]bool, error)
}

// Mask appends the masked form of a JSON value that is not a list. An error
// means that it does not fit: the position becomes null, with the guard's error.
type Mask interface {
	Append(dst, value []byte) ([]byte, error)
}

// Parent is what a rule reads of one object type.
type Parent struct {
	Type   *ast.Definition
	Fields []ParentField
}

// ParentField is a field that takes no argument; Fields are read below it, by
// possible object type: nil for a leaf.
type ParentField struct {
	Definition *ast.FieldDefinition
	Fields     []Parent
}

// Drop is a list field whose denied items are left out instead of becoming
// null: those that a denial nulled, and those of which every selected field
// other than __typename was denied.
type Drop struct {
	Field *ast.Field
	Types schema.TypeSet
}

// Plan is what a set of guards makes of an operation. It is immutable and safe
// for concurrent use.
type Plan struct {
	op        *schema.Operation
	fragments map[string]*ast.FragmentDefinition
	guards    []guard
	at        map[*ast.Field][]int32 // guards by node
	drops     map[*ast.Field]schema.TypeSet
	cut       map[*ast.Field]bool
	below     map[*ast.Field]reach // what a node's selection set leads to
	ids       map[*ast.Field]uint32
	root      reach // what the operation's own selection set leads to
	text      string
	aliases   map[string]string // by coordinate
	check     bool

	mu     sync.Mutex
	shapes []*shape
}

// guard is the part of a Guard that a plan depends on.
type guard struct {
	types       schema.TypeSet
	judged      bool
	masked      bool
	constant    bool
	position    bool // the constant stands for the whole value
	whole       bool
	projections map[int]*projection // by object type
}

// settled reports whether what the client gets at a position does not depend on
// what the upstream answers there.
func (g *guard) settled() bool { return !g.judged && (!g.masked || g.constant && g.position) }

// reach says what a selection set leads to.
type reach struct {
	touched bool // a guard, a cut, an injection
	judged  bool // a guard with a rule
	fails   bool // a denial may make the object that the set is selected on null
}

func (r *reach) add(o reach) {
	r.touched, r.judged, r.fails = r.touched || o.touched, r.judged || o.judged, r.fails || o.fails
}

// New makes the plan. A field node that is denied for every object type that it
// may have, without rule and mask, is cut from the document, and so is one that a
// constant masks. The nodes of local are answered by the firewall itself and cut
// as well. With check the whole answer is held against the operation (see
// Rewrite), and not only what leads to a guard.
func New(op *schema.Operation, guards []Guard, drops []Drop, local []*ast.Field, check bool) *Plan {
	p := &Plan{
		op: op, fragments: make(map[string]*ast.FragmentDefinition, len(op.Fragments)),
		at: make(map[*ast.Field][]int32, len(guards)), cut: map[*ast.Field]bool{},
		below: map[*ast.Field]reach{}, ids: map[*ast.Field]uint32{}, aliases: map[string]string{}, check: check,
	}
	for _, f := range op.Fragments {
		p.fragments[f.Name] = f
	}
	for i := range guards {
		g := &guards[i]
		p.at[g.Field] = append(p.at[g.Field], int32(i))
		p.guards = append(p.guards, guard{types: g.Types, judged: g.Rule != nil, masked: g.Mask != nil, constant: g.Constant != nil,
			whole: g.Whole, position: g.Position || g.Field.Definition.Type.Elem == nil})
	}
	for _, f := range local {
		p.cut[f] = true
	}
	p.chooseCuts()
	for _, d := range drops {
		if p.drops == nil {
			p.drops = map[*ast.Field]schema.TypeSet{}
		}
		p.drops[d.Field] = union(p.drops[d.Field], d.Types)
	}
	edit := schema.Edit{Cut: p.cut, Beside: map[*ast.Field]ast.SelectionSet{}, Typename: map[*ast.Field]bool{}, Key: typeKey}
	for i := range guards {
		if guards[i].Rule != nil {
			edit.Beside[guards[i].Field] = append(edit.Beside[guards[i].Field], p.inject(&guards[i], &p.guards[i])...)
		}
	}
	p.reachSets(&edit)
	p.text = op.Edited(&edit)
	return p
}

// chooseCuts cuts the nodes that are denied for whatever object they stand on.
func (p *Plan) chooseCuts() {
	denied := map[*ast.Field]schema.TypeSet{}
	whole := map[*ast.Field]bool{}
	for f, list := range p.at {
		for _, i := range list {
			g := &p.guards[i]
			if g.settled() {
				denied[f] = union(denied[f], g.types)
				whole[f] = whole[f] || g.whole
			}
		}
	}
	if len(denied) == 0 {
		return
	}
	for f := range denied {
		p.cut[f] = true
	}
	for i := range p.op.Uses {
		u := &p.op.Uses[i]
		if set, ok := denied[u.Field]; ok && !whole[u.Field] && !u.Objects.SubsetOf(set) {
			delete(p.cut, u.Field)
		}
	}
}

func union(a, b schema.TypeSet) schema.TypeSet {
	out := make(schema.TypeSet, max(len(a), len(b)))
	copy(out, a)
	for i, w := range b {
		out[i] |= w
	}
	return out
}

// Text is the document to forward; "" where no selection is left of it.
func (p *Plan) Text() string { return p.text }

// Cut reports whether the node is left out of what is forwarded.
func (p *Plan) Cut(f *ast.Field) bool { return p.cut[f] }

// Forwards reports whether there is anything to ask the upstream for, under
// these variables: a root field other than __typename.
func (p *Plan) Forwards(vars *schema.Variables) bool {
	if p.text == "" {
		return false
	}
	s := p.shape(vars)
	defer p.release(s)
	o, err := s.object(s.root, s.root.single)
	if err != nil {
		return true
	}
	return slices.ContainsFunc(o.fields, func(f field) bool { return !f.cut && f.def.Name != "__typename" })
}

// Local is the body that an upstream would give to a document of which nothing
// is forwarded: what Rewrite is to be given then.
func (p *Plan) Local(vars *schema.Variables) []byte {
	s := p.shape(vars)
	defer p.release(s)
	body := []byte(`{"data":{`)
	o, err := s.object(s.root, s.root.single)
	if err != nil {
		return append(body, "}}"...)
	}
	for i := range o.fields {
		if f := &o.fields[i]; !f.cut && f.def.Name == "__typename" {
			if body[len(body)-1] != '{' {
				body = append(body, ',')
			}
			body = append(strconv.AppendQuote(body, f.key), ':')
			body = strconv.AppendQuote(body, s.root.typ.Name)
		}
	}
	return append(body, "}}"...)
}

// alias is the response key under which a field that a rule reads is asked for:
// one for each coordinate, so that no two of them can conflict.
func (p *Plan) alias(typ *ast.Definition, field string) string {
	at := typ.Name + "." + field
	if a, ok := p.aliases[at]; ok {
		return a
	}
	a := Prefix + strconv.Itoa(len(p.aliases)+1)
	p.aliases[at] = a
	return a
}

// inject returns the selections that a guard's rule needs beside its field.
func (p *Plan) inject(g *Guard, own *guard) ast.SelectionSet {
	own.projections = map[int]*projection{}
	var out ast.SelectionSet
	for _, parent := range g.Parents {
		i := p.op.Schema.ObjectIndex(parent.Type.Name)
		if i < 0 || !g.Types.Has(i) {
			continue
		}
		set, projected := p.parent(&parent)
		own.projections[i] = projected
		out = append(out, onType(g.Field.ObjectDefinition, parent.Type, set)...)
	}
	return out
}

// onType is a selection set as it stands on a type: wrapped where that is not
// the object type for which it is meant.
func onType(standing, typ *ast.Definition, set ast.SelectionSet) ast.SelectionSet {
	if len(set) == 0 || standing != nil && standing.Name == typ.Name {
		return set
	}
	return ast.SelectionSet{&ast.InlineFragment{TypeCondition: typ.Name, SelectionSet: set}}
}

func (p *Plan) parent(parent *Parent) (ast.SelectionSet, *projection) {
	var set ast.SelectionSet
	out := &projection{}
	for i := range parent.Fields {
		f := &parent.Fields[i]
		selected := &ast.Field{Alias: p.alias(parent.Type, f.Definition.Name), Name: f.Definition.Name}
		read := projected{alias: selected.Alias, name: append(strconv.AppendQuote(nil, f.Definition.Name), ':')}
		if f.Fields != nil {
			named := p.op.Schema.Type(f.Definition.Type.Name())
			read.single, read.types = -1, map[int]*projection{}
			if named.IsAbstractType() {
				selected.SelectionSet = ast.SelectionSet{&ast.Field{Alias: typeKey, Name: "__typename"}}
			} else {
				read.single = p.op.Schema.ObjectIndex(named.Name)
			}
			for k := range f.Fields {
				below := &f.Fields[k]
				inner, projection := p.parent(below)
				read.types[p.op.Schema.ObjectIndex(below.Type.Name)] = projection
				selected.SelectionSet = append(selected.SelectionSet, onType(named, below.Type, inner)...)
			}
			if len(selected.SelectionSet) == 0 {
				selected.SelectionSet = ast.SelectionSet{&ast.Field{Alias: typeKey, Name: "__typename"}}
			}
		}
		out.fields = append(out.fields, read)
		set = append(set, selected)
	}
	return set, out
}

// reachSets fills in below for every field node, and which of them need the type
// of the objects that they lead to.
func (p *Plan) reachSets(edit *schema.Edit) {
	fragments := map[string]*reach{}
	var set func(ast.SelectionSet) reach
	field := func(f *ast.Field) reach {
		below := set(f.SelectionSet)
		below.touched = below.touched || p.check
		strict := p.op.Schema.Strictest(f.ObjectDefinition, f.Name)
		here := reach{touched: p.cut[f]}
		denies := false
		for _, i := range p.at[f] {
			g := &p.guards[i]
			here.touched, here.judged = true, here.judged || g.judged
			denies = denies || !g.masked
			below.fails = below.fails || g.masked && !g.constant
		}
		if below.touched {
			if named := p.op.Schema.Type(f.Definition.Type.Name()); named != nil && named.IsAbstractType() {
				edit.Typename[f] = true
			}
		}
		p.below[f], p.ids[f] = below, uint32(len(p.ids))
		here.fails = strict != nil && strict.NonNull && (denies || mayNull(strict, below.fails))
		here.touched, here.judged = here.touched || below.touched, here.judged || below.judged
		return here
	}
	set = func(list ast.SelectionSet) (out reach) {
		for _, sel := range list {
			switch sel := sel.(type) {
			case *ast.Field:
				out.add(field(sel))
			case *ast.InlineFragment:
				out.add(set(sel.SelectionSet))
			case *ast.FragmentSpread:
				r := fragments[sel.Name]
				if r == nil {
					r = new(reach)
					fragments[sel.Name] = r
					*r = set(p.fragments[sel.Name].SelectionSet)
				}
				out.add(*r)
			}
		}
		return out
	}
	p.root = set(p.op.Definition.SelectionSet)
}

// mayNull reports whether a value of the type may become null because something
// in it does: inner says whether its leaf or object may.
func mayNull(t *ast.Type, inner bool) bool {
	for ; t.Elem != nil; t = t.Elem {
		inner = inner && t.Elem.NonNull
	}
	return inner
}

func own(key string) bool { return strings.HasPrefix(key, Prefix) }
