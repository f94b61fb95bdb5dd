package policy

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	gql "github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/schema"
)

// Binding is one operation made ready for decisions. It is immutable, safe
// for concurrent use, and good for the engine that made it only.
type Binding struct {
	engine *Engine
	op     *schema.Operation

	uses          []boundUse
	coords        []boundCoordinate // of all uses
	introspection []int32           // uses that introspect

	// needs holds the identity verdicts that live uses must have, by
	// condition; the first is unconditional.
	needs []need
	// asked are the verdicts that read more than the subject.
	asked     []boundVerdict
	arguments []boundArgument
	inputs    []int32 // uses inside whose arguments ruled input fields may occur
	ruled     []int32 // uses with an entry in arguments or inputs

	gather   sync.Once
	gathered []boundNode // see nodes

	conditional bool
	// allowed and visible are the answers where nothing is denied: the latter
	// where introspection shows what is visible to the subject.
	allowed, visible *Decision
}

// boundUse is a field use that rules govern, with the rule of every object
// type that it may be resolved on.
type boundUse struct {
	use    int32
	coords []boundCoordinate
}

type boundCoordinate struct {
	coordinate
	verdict *verdict
}

type need struct {
	cond int32
	bits bitset
}

type boundVerdict struct {
	use     int32
	verdict *verdict
}

// boundArgument is an argument that the client wrote and that has a rule.
type boundArgument struct {
	use, arg int32
	key      argumentKey
	class    *class
	// variable indexes the operation's variables when the argument is a bare
	// variable, which may be absent; -1 else.
	variable int32
}

// Bind prepares an operation. The operation must have been compiled from the
// engine's schema.
func (e *Engine) Bind(op *schema.Operation) (*Binding, error) {
	if op.Schema != e.schema && op.Schema.Digest() != e.schema.Digest() {
		return nil, fmt.Errorf("policy: operation %q was compiled for another schema", op.Name)
	}
	b := &Binding{engine: e, op: op, conditional: len(op.Conditions) > 1}
	for i := range op.Conditions {
		b.conditional = b.conditional || op.Conditions[i].Never
	}
	b.uses, b.coords = make([]boundUse, 0, len(op.Uses)), make([]boundCoordinate, 0, len(op.Uses))
	for i := range op.Uses {
		if err := b.add(int32(i)); err != nil {
			return nil, err
		}
	}
	if err := b.prepare(); err != nil {
		return nil, err
	}
	b.allowed = &Decision{Allowed: true, Revision: e.revision}
	b.noteReads(b.allowed)
	if len(b.introspection) > 0 {
		b.allowed.Introspection = IntrospectionAll
		visible := *b.allowed
		visible.Introspection, visible.ReadsSubject = IntrospectionVisible, true
		b.visible = &visible
	}
	return b, nil
}

func (b *Binding) add(i int32) error {
	use := &b.op.Uses[i]
	name := use.Field.Name
	switch {
	case name == "__typename" || strings.HasPrefix(use.Parent.Name, "__"):
		return nil // follows its parent
	case introspects(b.op, use):
		b.introspection = append(b.introspection, i)
		return nil
	}
	first, arguments := len(b.coords), len(b.arguments)
	for typ := range b.objects(use) {
		v := b.engine.verdicts[typ][name]
		if v == nil {
			return fmt.Errorf("policy: the engine does not know %s.%s", typ, name)
		}
		b.coords = append(b.coords, boundCoordinate{coordinate{typ, name}, v})
		b.require(use.Cond, i, v)
		b.addArguments(i, typ)
	}
	b.uses = append(b.uses, boundUse{i, b.coords[first:len(b.coords):len(b.coords)]})
	b.addInputs(i)
	if len(b.arguments) > arguments || slices.Contains(b.inputs, i) {
		b.ruled = append(b.ruled, i)
	}
	return nil
}

// objects yields the object types that the use may be resolved on. A use that
// no object can reach is judged as if all could.
func (b *Binding) objects(use *schema.FieldUse) iter.Seq[string] {
	set := use.Objects
	if set.Empty() {
		set = b.engine.schema.Possible(use.Parent.Name)
	}
	return func(yield func(string) bool) {
		objects := b.engine.schema.Objects()
		for i := range set.All {
			if !yield(objects[i].Name) {
				return
			}
		}
	}
}

// introspects reports whether the use shows the schema: __schema, __type, or
// the subgraph SDL of federation.
func introspects(op *schema.Operation, use *schema.FieldUse) bool {
	switch use.Field.Name {
	case "__schema", "__type":
		return true
	case "_service":
		return use.Up < 0 && op.Kind == gql.Query && use.Field.Definition.Type.Name() == "_Service"
	case "sdl":
		return use.Parent.Name == "_Service"
	}
	return false
}

func (b *Binding) require(cond, use int32, v *verdict) {
	if !v.identity {
		bound := boundVerdict{use, v}
		if !slices.Contains(b.asked, bound) {
			b.asked = append(b.asked, bound)
		}
		return
	}
	i := slices.IndexFunc(b.needs, func(n need) bool { return n.cond == cond })
	if i < 0 {
		i = len(b.needs)
		b.needs = append(b.needs, need{cond, newBitset(len(b.engine.identity.verdicts))})
	}
	b.needs[i].bits.set(v.bit)
}

func (b *Binding) addArguments(i int32, typ string) {
	use := &b.op.Uses[i]
	for j := range use.Args {
		arg := &use.Args[j]
		key := argumentKey{typ, use.Field.Name, arg.Definition.Name}
		c := b.engine.arguments[key]
		if c == nil || arg.Literal == nil {
			continue
		}
		b.arguments = append(b.arguments, boundArgument{i, int32(j), key, c, b.bareVariable(arg)})
	}
}

func (b *Binding) bareVariable(arg *schema.Argument) int32 {
	if arg.Literal.Kind != gql.Variable {
		return -1
	}
	return int32(slices.IndexFunc(b.op.Variables, func(v schema.Variable) bool { return v.Name == arg.Literal.Raw }))
}

func (b *Binding) addInputs(i int32) {
	if len(b.engine.inputs) == 0 {
		return
	}
	use := &b.op.Uses[i]
	for j := range use.Args {
		ruled := func(f schema.InputField) bool { return b.engine.inputs[coordinate{f.Object.Name, f.Field.Name}] != nil }
		if use.Args[j].Literal != nil && slices.ContainsFunc(b.engine.schema.InputReach(use.Args[j].Definition.Type), ruled) {
			b.inputs = append(b.inputs, i)
			return
		}
	}
}

// noteReads records which parts of input any rule that b consults can read.
func (b *Binding) noteReads(d *Decision) {
	for c := range b.classes {
		d.ReadsSubject = d.ReadsSubject || c.reads.paths.has("subject")
		d.ReadsRequest = d.ReadsRequest || c.reads.paths.has("request")
	}
}

// prepare compiles the queries that decisions will need one by one, so that
// no request pays for it.
func (b *Binding) prepare() error {
	for c := range b.classes {
		if c.kind == classIdentity && c.group.kind == entryAllow || c.constant != nil {
			continue
		}
		if _, err := c.same.query(b.engine); err != nil {
			return &EvalError{Rule: c.group.head, Err: err}
		}
	}
	return nil
}

// classes yields every class that a decision may consult, some repeatedly.
func (b *Binding) classes(yield func(*class) bool) {
	visit := func(c *class) bool { return c == nil || yield(c) }
	if !visit(b.engine.deny) || len(b.introspection) > 0 && !visit(b.engine.introspection) {
		return
	}
	for _, u := range b.uses {
		for _, c := range u.coords {
			for _, lv := range c.verdict.levels {
				if !visit(lv.rule) {
					return
				}
				for _, v := range lv.vars {
					if !visit(v) {
						return
					}
				}
			}
		}
	}
	for _, a := range b.arguments {
		if !visit(a.class) {
			return
		}
	}
	if len(b.inputs) > 0 {
		for _, c := range b.engine.inputs {
			if !visit(c) {
				return
			}
		}
	}
}
