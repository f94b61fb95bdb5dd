package policy

import (
	"errors"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// maxQuerySteps bounds what one object costs here. OPA, which is asked beyond,
// looks at the time.
const maxQuerySteps = 100_000

// evaluation is of one query for one object.
type evaluation struct {
	parent *ast.Term
	bound  []*ast.Term // by slot; nil: not bound
	steps  int
	// thorough looks at every solution, as OPA may, since one can fail.
	thorough bool
	ctx      *topdown.BuiltinContext
	doubt    *bool
}

// holds reports whether the query has a solution.
func (q *query) holds(parent ast.Value, ctx *topdown.BuiltinContext, doubt *bool) bool {
	e := evaluation{parent: &ast.Term{Value: parent}, bound: make([]*ast.Term, q.slots), thorough: q.thorough, ctx: ctx, doubt: doubt}
	return e.solves(q.steps)
}

// solves reports whether the conditions have a solution.
func (e *evaluation) solves(steps []condition) bool {
	solved := false
	e.all(steps, func() bool {
		solved = true
		return !e.thorough
	})
	return solved
}

// all calls next for each solution of the conditions until it returns true.
func (e *evaluation) all(steps []condition, next func() bool) bool {
	for ; len(steps) > 0; steps = steps[1:] {
		if e.steps++; e.steps > maxQuerySteps {
			return e.unsure()
		}
		s := &steps[0]
		ok, many := true, false
		switch s.kind {
		case unifies:
			var slot int
			if slot, ok, many = e.equal(s); !many && slot >= 0 {
				solved := ok && e.all(steps[1:], next)
				e.bound[slot] = nil
				return solved
			}
		case isTruth:
			var t *ast.Term
			if t, many = e.single(&s.left); !many {
				ok = t != nil && e.truth(s, t)
			}
		case isNot:
			ok = !e.solves(s.body)
		case isAnd:
			ok = e.solves(s.body) && e.solves(s.other)
		case isOr:
			ok = e.solves(s.body) || e.solves(s.other)
		case isEvery:
			ok = e.every(s)
		}
		switch {
		case many:
			rest := steps[1:]
			return e.eachWay(s, func() bool { return e.all(rest, next) })
		case !ok:
			return false
		}
	}
	return next()
}

// unsure leaves the verdict to OPA. What it returns ends loops.
func (e *evaluation) unsure() bool {
	*e.doubt = true
	return true
}

func (e *evaluation) truth(s *condition, t *ast.Term) bool {
	if !ast.Boolean(false).Equal(t.Value) {
		return true
	}
	*e.doubt = *e.doubt || !s.sure
	return false
}

// sides returns the operands of unify, one that is to be bound first, with its
// slot; -1: none is.
func (e *evaluation) sides(s *condition) (slot int, a, b *expression) {
	switch a, b = &s.left, &s.right; {
	case a.kind == isSlot && e.bound[a.slot] == nil:
		return a.slot, a, b
	case b.kind == isSlot && e.bound[b.slot] == nil:
		return b.slot, b, a
	}
	return -1, a, b
}

// equal unifies what has one value; a slot that it bound is to be cleared.
func (e *evaluation) equal(s *condition) (slot int, ok, many bool) {
	slot, a, b := e.sides(s)
	u, many := e.single(b)
	if many || slot >= 0 {
		if !many {
			e.bound[slot] = u
		}
		return slot, u != nil, many
	}
	t, many := e.single(a)
	return -1, !many && t != nil && u != nil && t.Value.Compare(u.Value) == 0, many
}

// eachWay calls next for each way in which a truth or a unification holds.
func (e *evaluation) eachWay(s *condition, next func() bool) bool {
	if s.kind == isTruth {
		return e.each(&s.left, func(t *ast.Term) bool { return e.truth(s, t) && next() })
	}
	slot, a, b := e.sides(s)
	switch {
	case slot >= 0:
		return e.each(b, func(t *ast.Term) bool { return e.bind(slot, t, next) })
	case a.kind == isArray:
		return e.each(b, func(t *ast.Term) bool { return e.match(a, t, next) })
	case b.kind == isArray:
		return e.each(a, func(t *ast.Term) bool { return e.match(b, t, next) })
	}
	return e.each(a, func(t *ast.Term) bool {
		return e.each(b, func(u *ast.Term) bool { return t.Value.Compare(u.Value) == 0 && next() })
	})
}

// match unifies an expression, in which variables may be bound, with a value.
func (e *evaluation) match(x *expression, t *ast.Term, next func() bool) bool {
	switch {
	case x.kind == isSlot && e.bound[x.slot] == nil:
		return e.bind(x.slot, t, next)
	case x.kind == isArray:
		list, ok := t.Value.(*ast.Array)
		return ok && list.Len() == len(x.parts) && e.matchAll(x.parts, list, 0, next)
	}
	return e.each(x, func(u *ast.Term) bool { return u.Value.Compare(t.Value) == 0 && next() })
}

func (e *evaluation) matchAll(parts []expression, list *ast.Array, i int, next func() bool) bool {
	if i == len(parts) {
		return next()
	}
	return e.match(&parts[i], list.Elem(i), func() bool { return e.matchAll(parts, list, i+1, next) })
}

func (e *evaluation) bind(slot int, t *ast.Term, next func() bool) bool {
	e.bound[slot] = t
	ok := next()
	e.bound[slot] = nil
	return ok
}

// single returns the value of an expression that has one at most, nil for none;
// many: it may have more.
func (e *evaluation) single(x *expression) (t *ast.Term, many bool) {
	switch x.kind {
	case isConstant:
		return x.constant, false
	case isParent:
		return e.parent, false
	case isSlot:
		t = e.bound[x.slot]
		return t, t == nil
	case isPath:
		if t, many = e.single(&x.parts[0]); many {
			return nil, true
		}
		for i := 1; t != nil && i < len(x.parts); i++ {
			key, many := e.single(&x.parts[i])
			if many {
				return nil, true
			}
			if key == nil {
				return nil, false
			}
			t = element(t, key)
		}
		return t, false
	case isCall, isRule, isArray, isSet, isObject:
		var buf [3]*ast.Term
		operands := buf[:0]
		for i := range x.parts {
			if t, many = e.single(&x.parts[i]); many {
				return nil, true
			}
			if t == nil {
				return nil, false
			}
			operands = append(operands, t)
		}
		return e.made(x, operands), false
	case arrayOf, setOf, objectOf:
		return e.comprehend(x), false
	}
	return nil, true
}

// element returns what a collection has under a key.
func element(t, key *ast.Term) *ast.Term {
	switch v := t.Value.(type) {
	case ast.Object:
		return v.Get(key)
	case *ast.Array:
		return v.Get(key)
	case ast.Set:
		if v.Contains(key) {
			return key
		}
	}
	return nil
}

func (e *evaluation) every(s *condition) bool {
	ok, domains := true, 0
	e.each(&s.left, func(domain *ast.Term) bool {
		domains++
		switch domain.Value.(type) {
		case ast.Object, *ast.Array, ast.Set:
		default:
			ok = false
			return true
		}
		e.elements(domain, func(key, value *ast.Term) bool {
			if s.key >= 0 {
				e.bound[s.key] = key
			}
			e.bound[s.value] = value
			ok = e.solves(s.body) && ok
			return !ok && !e.thorough
		})
		if s.key >= 0 {
			e.bound[s.key] = nil
		}
		e.bound[s.value] = nil
		return !ok
	})
	if domains != 1 {
		return e.unsure()
	}
	return ok
}

// elements calls visit for what a collection has until it returns true.
func (e *evaluation) elements(t *ast.Term, visit func(key, value *ast.Term) bool) bool {
	switch v := t.Value.(type) {
	case ast.Object:
		return v.Until(visit)
	case *ast.Array:
		for i := range v.Len() {
			if visit(ast.InternedTerm(i), v.Elem(i)) {
				return true
			}
		}
	case ast.Set:
		return v.Until(func(t *ast.Term) bool { return visit(t, t) })
	}
	return false
}

// each calls visit for each value until it returns true.
func (e *evaluation) each(x *expression, visit func(*ast.Term) bool) bool {
	if e.steps++; e.steps > maxQuerySteps {
		return e.unsure()
	}
	if t, many := e.single(x); !many {
		return t != nil && visit(t)
	}
	switch x.kind {
	case isPath:
		return e.each(&x.parts[0], func(t *ast.Term) bool { return e.walk(t, x.parts[1:], visit) })
	case isCall, isRule, isArray, isSet, isObject:
		var buf [3]*ast.Term
		return e.operands(x.parts, buf[:0], func(operands []*ast.Term) bool {
			t := e.made(x, operands)
			return t != nil && visit(t)
		})
	}
	if x.kind == isWalk {
		return e.each(&x.parts[0], func(t *ast.Term) bool { return e.descend(x.call, t, visit) })
	}
	return e.unsure() // a variable that is not bound
}

// errFound ends a walk.
var errFound = errors.New("found")

// descend calls visit with the path and the value of everything in a value.
func (e *evaluation) descend(walk topdown.BuiltinFunc, t *ast.Term, visit func(*ast.Term) bool) bool {
	err := walk(*e.ctx, []*ast.Term{t}, func(pair *ast.Term) error {
		if e.steps++; e.steps > maxQuerySteps && e.unsure() || visit(pair) {
			return errFound
		}
		return nil
	})
	return err != nil
}

// made is what an expression makes of the values of its parts; nil: nothing.
func (e *evaluation) made(x *expression, parts []*ast.Term) *ast.Term {
	switch x.kind {
	case isCall:
		return callBuiltin(x.call, e.ctx, parts, e.doubt)
	case isRule:
		return e.rule(x.rule, parts)
	case isArray:
		return ast.ArrayTerm(slices.Clone(parts)...)
	case isSet:
		return ast.SetTerm(parts...)
	}
	pairs := make([][2]*ast.Term, len(parts))
	for i, t := range parts {
		pairs[i] = [2]*ast.Term{x.keys[i], t}
	}
	return ast.ObjectTerm(pairs...)
}

// operands calls visit for each combination of values.
func (e *evaluation) operands(list []expression, values []*ast.Term, visit func([]*ast.Term) bool) bool {
	if len(list) == 0 {
		return visit(values)
	}
	return e.each(&list[0], func(t *ast.Term) bool { return e.operands(list[1:], append(values, t), visit) })
}

// walk follows keys; a variable that is not bound yet takes every key.
func (e *evaluation) walk(t *ast.Term, keys []expression, visit func(*ast.Term) bool) bool {
	if len(keys) == 0 {
		return visit(t)
	}
	if k := &keys[0]; k.kind == isSlot && e.bound[k.slot] == nil {
		return e.elements(t, func(key, value *ast.Term) bool {
			return e.bind(k.slot, key, func() bool { return e.walk(value, keys[1:], visit) })
		})
	}
	return e.each(&keys[0], func(key *ast.Term) bool {
		value := element(t, key)
		return value != nil && e.walk(value, keys[1:], visit)
	})
}

// callBuiltin calls a builtin. One that fails has no value, as in OPA; of one that
// was stopped nothing is known.
func callBuiltin(f topdown.BuiltinFunc, ctx *topdown.BuiltinContext, operands []*ast.Term, doubt *bool) (result *ast.Term) {
	err := f(*ctx, operands, func(t *ast.Term) error { result = t; return nil })
	if err == nil {
		return result
	}
	if _, stopped := err.(topdown.Halt); stopped { //nolint:errorlint // as topdown asks
		*doubt = true
	}
	return nil
}

func (e *evaluation) comprehend(x *expression) *ast.Term {
	if x.kind == objectOf {
		return e.object(x)
	}
	var list []*ast.Term
	e.all(x.body, func() bool {
		return e.each(&x.parts[0], func(t *ast.Term) bool { list = append(list, t); return false })
	})
	if x.kind == setOf {
		return ast.SetTerm(list...)
	}
	return ast.ArrayTerm(list...)
}

// object makes an object of a comprehension.
func (e *evaluation) object(x *expression) *ast.Term {
	out := ast.NewObject()
	e.all(x.body, func() bool {
		return e.operands(x.parts, nil, func(pair []*ast.Term) bool {
			if before := out.Get(pair[0]); before != nil && !before.Equal(pair[1]) {
				return e.unsure() // an error in OPA
			}
			out.Insert(pair[0], pair[1])
			return false
		})
	})
	return ast.NewTerm(out)
}

// rule returns the value of a rule, or of a function; nil: it has none.
func (e *evaluation) rule(d *definition, operands []*ast.Term) (value *ast.Term) {
	if d.keyed {
		return e.keyed(d)
	}
	if d.set {
		var list []*ast.Term
		for _, chain := range d.chains {
			e.solve(&chain[0], operands, func(t *ast.Term) bool { list = append(list, t); return false })
		}
		return ast.SetTerm(list...)
	}
	for _, chain := range d.chains {
		t := e.chain(chain, operands)
		switch {
		case t == nil:
		case d.alike:
			return t
		case value == nil:
			value = t
		case !value.Equal(t):
			e.unsure() // an error in OPA
		}
	}
	if value == nil {
		return d.otherwise
	}
	return value
}

// keyed returns the object of a definition with keys.
func (e *evaluation) keyed(d *definition) *ast.Term {
	out := ast.NewObject()
	for _, chain := range d.chains {
		b := &chain[0]
		e.all(b.body, func() bool {
			return e.each(&b.key, func(key *ast.Term) bool {
				return e.each(&b.value, func(t *ast.Term) bool {
					before := out.Get(key)
					switch {
					case d.set && before == nil:
						t = ast.SetTerm(t)
					case d.set:
						t = ast.NewTerm(before.Value.(ast.Set).Union(ast.NewSet(t)))
					case before != nil && !before.Equal(t):
						return e.unsure() // an error in OPA, where it looks at this key
					}
					out.Insert(key, t)
					return false
				})
			})
		})
	}
	return ast.NewTerm(out)
}

// chain returns the value of the first of a rule and its elses that has one.
func (e *evaluation) chain(chain []branch, operands []*ast.Term) (value *ast.Term) {
	for i := 0; value == nil && i < len(chain); i++ {
		e.solve(&chain[i], operands, func(t *ast.Term) bool {
			if value != nil && !value.Equal(t) {
				return e.unsure() // an error in OPA
			}
			value = t
			return chain[i].value.kind == isConstant && !e.thorough
		})
	}
	return value
}

// solve calls visit with the branch's value in each solution.
func (e *evaluation) solve(b *branch, operands []*ast.Term, visit func(*ast.Term) bool) {
	for i := range b.params {
		if p := &b.params[i]; p.kind == isConstant && !p.constant.Equal(operands[i]) {
			return
		}
	}
	e.params(b.params, operands, func() bool {
		return e.all(b.body, func() bool { return e.each(&b.value, visit) })
	})
}

func (e *evaluation) params(params []expression, operands []*ast.Term, next func() bool) bool {
	for len(params) > 0 && params[0].kind == isConstant {
		params, operands = params[1:], operands[1:]
	}
	if len(params) == 0 {
		return next()
	}
	if known := e.bound[params[0].slot]; known != nil {
		return known.Equal(operands[0]) && e.params(params[1:], operands[1:], next)
	}
	return e.bind(params[0].slot, operands[0], func() bool { return e.params(params[1:], operands[1:], next) })
}
