package schema

import (
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
)

// reached returns the condition under which a scope is reached: that one of
// its incoming conditions holds.
func (w *walker) reached(s *scope) int32 {
	if s.always {
		return 0
	}
	var any []int32
	for at := s.incoming; at > 0; at = w.incoming[at-1].next {
		if c := w.incoming[at-1].cond; !w.op.Conditions[c].Never {
			any = append(any, c)
		}
	}
	slices.Sort(any)
	any = slices.Compact(any)
	switch len(any) {
	case 0:
		return w.neverHolds()
	case 1:
		return any[0]
	}
	return w.condition(Condition{Var: -1, Any: any})
}

// directives returns the condition of a selection: before, and what its @skip
// and @include ask.
func (w *walker) directives(list ast.DirectiveList, before int32) int32 {
	for _, d := range list {
		if d.Name != "skip" && d.Name != "include" || w.op.Conditions[before].Never {
			continue
		}
		arg := d.Arguments.ForName("if")
		if arg == nil {
			continue
		}
		want := d.Name == "include"
		if arg.Value.Kind != ast.Variable {
			if (arg.Value.Raw == "true") != want {
				before = w.neverHolds()
			}
			continue
		}
		before = w.guarded(guard{variable: w.variable(arg.Value.Raw), before: before, want: want})
	}
	return before
}

func (w *walker) guarded(g guard) int32 {
	if id, ok := w.conds[g]; ok {
		return id
	}
	if w.conds == nil {
		w.conds = map[guard]int32{}
	}
	c := Condition{Var: g.variable, Want: g.want}
	if g.before != 0 {
		c.Any = []int32{g.before}
	}
	id := w.condition(c)
	w.conds[g] = id
	return id
}

func (w *walker) neverHolds() int32 {
	if w.never < 0 {
		w.never = w.condition(Condition{Never: true, Var: -1})
	}
	return w.never
}

func (w *walker) condition(c Condition) int32 {
	w.op.Conditions = append(w.op.Conditions, c)
	return int32(len(w.op.Conditions)) - 1
}

// Live evaluates op.Conditions with the request's variables into dst, which is
// reused when it is large enough: a use is executed only if Live[use.Cond]. A
// variable that is not a boolean decides nothing: both branches count as live.
func (op *Operation) Live(vars *Variables, dst []bool) []bool {
	dst = slices.Grow(dst[:0], len(op.Conditions))[:len(op.Conditions)]
	for i := range op.Conditions {
		c := &op.Conditions[i]
		live := !c.Never
		if c.Var >= 0 && live {
			val, ok := vars.value(c.Var).Bool()
			live = !ok || val == c.Want
		}
		if live && len(c.Any) > 0 {
			live = slices.ContainsFunc(c.Any, func(before int32) bool { return dst[before] })
		}
		dst[i] = live
	}
	return dst
}
