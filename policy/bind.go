package policy

import (
	"fmt"
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
	coords        []*boundCoordinate // of all uses
	introspection []int32            // uses that introspect

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
	varies      bool // see stands
	standings   standings
	// allowed and visible are the answers where nothing is denied: the latter
	// where introspection shows what is visible to the subject.
	allowed, visible *Decision
}

// boundUse is a field use that rules govern. coords[first:end] are the rules of
// every object type that it may be resolved on.
type boundUse struct {
	use, first, end int32
}

// boundCoordinate is a field of an object type with its verdict. It is one of the
// engine's: bindings share it.
type boundCoordinate struct {
	coordinate
	name    string // Type.field
	verdict *verdict
	// rule decides when nothing grants: that of the first level that has one;
	// nil for none. Coordinates may share a verdict without sharing the rule.
	rule   *class
	varies bool // Engine.varies
}

// of returns the rules of a use.
func (b *Binding) of(u *boundUse) []*boundCoordinate { return b.coords[u.first:u.end] }

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
	b.uses, b.coords = make([]boundUse, 0, len(op.Uses)), make([]*boundCoordinate, 0, len(op.Uses))
	b.allowed = &Decision{Allowed: true, Revision: e.revision}
	for i := range op.Uses {
		if err := b.add(int32(i)); err != nil {
			return nil, err
		}
	}
	for c := range b.classes {
		b.allowed.note(c)
		b.varies = b.varies || c.impure
		if err := c.prepareQuery(e); err != nil {
			return nil, err
		}
	}
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
	bound := boundUse{use: i, first: int32(len(b.coords))}
	arguments := len(b.arguments)
	if err := b.govern(i, use); err != nil {
		return err
	}
	bound.end = int32(len(b.coords))
	b.uses = append(b.uses, bound)
	b.addInputs(i)
	if len(b.arguments) > arguments || slices.Contains(b.inputs, i) {
		b.ruled = append(b.ruled, i)
	}
	return nil
}

// govern adds the rules of a use.
func (b *Binding) govern(i int32, use *schema.FieldUse) error {
	if b.op.Schema == b.engine.schema && use.OnObject() {
		return b.governAs(i, use, b.engine.coordinates[use.Index()])
	}
	set := use.Objects
	if set.Empty() {
		// A use that no object can reach is judged as if all could.
		set = b.engine.schema.Possible(use.Parent.Name)
	}
	for typ := range set.All {
		if err := b.governAs(i, use, b.engine.fields[typ][use.Field.Name]); err != nil {
			return err
		}
	}
	return nil
}

// governAs adds the rules of a use for one object type; at is nil where the engine
// knows of no such field.
func (b *Binding) governAs(i int32, use *schema.FieldUse, at *boundCoordinate) error {
	if at == nil || at.field != use.Field.Name {
		return fmt.Errorf("policy: the engine does not know the field of %s", use.Coordinate())
	}
	b.coords = append(b.coords, at)
	b.varies = b.varies || at.varies
	b.addArguments(i, at.typ)
	return b.require(use.Cond, i, at.verdict)
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

// require makes the verdict's permission one of the use's conditions.
func (b *Binding) require(cond, use int32, v *verdict) error {
	b.allowed.ReadsSubject = b.allowed.ReadsSubject || v.readsSubject
	b.allowed.ReadsRequest = b.allowed.ReadsRequest || v.readsRequest
	if !v.identity {
		if bound := (boundVerdict{use, v}); !slices.Contains(b.asked, bound) {
			b.asked = append(b.asked, bound)
		}
		return v.prepareQueries(b.engine)
	}
	i := slices.IndexFunc(b.needs, func(n need) bool { return n.cond == cond })
	if i < 0 {
		i = len(b.needs)
		b.needs = append(b.needs, need{cond, newBitset(len(b.engine.identity.verdicts))})
	}
	b.needs[i].bits.set(v.bit)
	return nil
}

func (b *Binding) addArguments(i int32, typ string) {
	if len(b.engine.arguments) == 0 {
		return
	}
	use := &b.op.Uses[i]
	for j := range use.Args {
		arg := use.Args[j]
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

// note records which parts of input a class can read.
func (d *Decision) note(c *class) {
	d.ReadsSubject = d.ReadsSubject || c.reads.paths.has("subject")
	d.ReadsRequest = d.ReadsRequest || c.reads.paths.has("request")
}

// classes yields the classes that a decision may consult beyond those of the
// uses' verdicts, some repeatedly.
func (b *Binding) classes(yield func(*class) bool) {
	visit := func(c *class) bool { return c == nil || yield(c) }
	if !visit(b.engine.deny) || len(b.introspection) > 0 && !visit(b.engine.introspection) {
		return
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
