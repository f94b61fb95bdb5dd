package cost

import (
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/schema"
)

// A guard is the condition under which an occurrence is live, as an index into
// the program's guards; alwaysLive and neverLive need no evaluation.
const (
	alwaysLive int32 = 0
	neverLive  int32 = -1
)

type guardKind uint8

const (
	guardAlways guardKind = iota
	guardVariable
	guardAnd
	guardOr
)

// guardOp is a node of the DAG of guards; x and y are earlier nodes, or for
// guardVariable the variable and the wanted value (1: true).
type guardOp struct {
	kind guardKind
	x, y int32
}

func (c *compiler) guard(op guardOp) int32 {
	if id, ok := c.guards[op]; ok {
		return id
	}
	id := int32(len(c.p.guards))
	c.p.guards = append(c.p.guards, op)
	c.guards[op] = id
	return id
}

func (c *compiler) literal(variable int32, want bool) int32 {
	y := int32(0)
	if want {
		y = 1
	}
	return c.guard(guardOp{guardVariable, variable, y})
}

// opposed reports whether the two are x and not x.
func (c *compiler) opposed(a, b int32) bool {
	x, y := c.p.guards[a], c.p.guards[b]
	return x.kind == guardVariable && y.kind == guardVariable && x.x == y.x && x.y != y.y
}

// maxChain bounds how far within looks, so that chains cost no more than their
// length. Past it a guard is longer than it need be, and means the same.
const maxChain = 16

// within reports whether b is an operand of a chain of kind at a, at most
// maxChain deep.
func (c *compiler) within(kind guardKind, a, b int32) bool {
	for range maxChain {
		op := c.p.guards[a]
		if op.kind != kind {
			return a == b
		}
		if op.y == b || op.x == b {
			return true
		}
		a = op.x
	}
	return false
}

func (c *compiler) and(a, b int32) int32 {
	return c.join(guardAnd, guardOr, neverLive, alwaysLive, a, b)
}

func (c *compiler) or(a, b int32) int32 {
	return c.join(guardOr, guardAnd, alwaysLive, neverLive, a, b)
}

// join is the guard of a and b under kind, one of two that mirror each other:
// absorbing is what kind makes of anything beside it, neutral what it leaves
// alone.
func (c *compiler) join(kind, mirror guardKind, absorbing, neutral, a, b int32) int32 {
	switch {
	case a == absorbing || b == absorbing:
		return absorbing
	case a == neutral || a == b:
		return b
	case b == neutral:
		return a
	}
	if a > b {
		a, b = b, a
	}
	switch {
	case c.opposed(a, b):
		return absorbing
	case c.within(kind, a, b) || c.within(mirror, b, a):
		return a
	case c.within(kind, b, a) || c.within(mirror, a, b):
		return b
	}
	return c.guard(guardOp{kind, a, b})
}

// condition is the guard of @skip and @include on one selection.
func (c *compiler) condition(applied ast.DirectiveList) int32 {
	g := alwaysLive
	for _, d := range applied {
		want := d.Name == "include"
		if !want && d.Name != "skip" {
			continue
		}
		arg := d.Arguments.ForName("if")
		if arg == nil || arg.Value == nil {
			continue
		}
		switch arg.Value.Kind {
		case ast.Variable:
			g = c.and(g, c.literal(c.variable(arg.Value.Raw), want))
		case ast.BooleanValue:
			if (arg.Value.Raw == "true") != want {
				return neverLive
			}
		}
	}
	return g
}

// evalGuards decides every guard. A variable that is not a Boolean, which
// execution would refuse, counts as live: a price may be too high, never too low.
func (p *Program) evalGuards(vars *schema.Variables, out []bool) {
	for i, op := range p.guards {
		switch op.kind {
		case guardAlways:
			out[i] = true
		case guardVariable:
			v := variable(vars, op.x)
			out[i] = v.Kind != schema.Bool || (v.Text == "true") == (op.y == 1)
		case guardAnd:
			out[i] = out[op.x] && out[op.y]
		case guardOr:
			out[i] = out[op.x] || out[op.y]
		}
	}
}
