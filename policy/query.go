package policy

import (
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// What partial evaluation leaves with variables, comprehensions, every, or rules
// with other values than true is evaluated here as a query: conditions in the
// order in which OPA left them, each with every binding of its variables. Where
// the order or a value is not as expected, OPA is asked.

// query is a conjunction. The zero value holds.
type query struct {
	steps []condition
	slots int // of the variables, those of sub-queries and of rules included
	parts int // conditions and expressions
	// thorough is residualCompiler's.
	thorough bool
}

// condition is one condition of a query.
type condition struct {
	kind        conditionKind
	left, right expression  // of unify; left alone of truth, and the domain of every
	sure        bool        // of truth: false is no mere presence
	body        []condition // of not and every
	other       []condition // of and and or, besides body
	key, value  int         // of every: slots; -1: none
}

type conditionKind uint8

const (
	unifies conditionKind = iota
	isTruth
	isNot
	isAnd
	isOr
	isEvery
)

// expression has any number of values under given bindings.
type expression struct {
	kind     expressionKind
	constant *ast.Term
	slot     int
	parts    []expression // operands, elements, an object's values, keys; the first is what a path begins at; the head of a comprehension
	keys     []*ast.Term  // of an object
	call     topdown.BuiltinFunc
	body     []condition // of a comprehension
	rule     *definition
}

type expressionKind uint8

const (
	isConstant expressionKind = iota
	isSlot
	isParent
	isPath
	isCall
	isWalk
	isArray
	isSet
	isObject
	arrayOf
	setOf
	objectOf
	isRule
)

// definition is a rule or function: the value of its chains, which must be one, or
// for a set the values of all. With keys it is an object of such values.
type definition struct {
	chains    [][]branch
	otherwise *ast.Term // its default
	set       bool
	keyed     bool
	alike     bool // whichever chain has a value, it is the same; the first settles it
}

// branch is a body with the value that it gives; params are matched with what a
// function is called with.
type branch struct {
	key    expression // of a keyed definition
	params []expression
	body   []condition
	value  expression
}

// queryCompiler understands bodies.
type queryCompiler struct {
	*residualCompiler
	vars  map[ast.Var]int
	query *query
}

// query returns nil for a body that it does not understand.
func (k *residualCompiler) query(body ast.Body) *query {
	q := &query{thorough: k.thorough}
	c := queryCompiler{k, map[ast.Var]int{}, q}
	var ok bool
	if q.steps, ok = c.body(body); !ok {
		return nil
	}
	return q
}

func (c *queryCompiler) body(body ast.Body) ([]condition, bool) {
	out := make([]condition, 0, len(body))
	for _, expr := range body {
		if _, declares := expr.Terms.(*ast.SomeDecl); declares {
			continue
		}
		one, ok := c.condition(expr)
		if !ok || len(expr.With) > 0 {
			return nil, false
		}
		if expr.Negated {
			one = condition{kind: isNot, body: []condition{one}}
		}
		out = append(out, one)
	}
	return out, true
}

func (c *queryCompiler) condition(expr *ast.Expr) (condition, bool) {
	c.query.parts++
	switch terms := expr.Terms.(type) {
	case *ast.Term:
		e, ok := c.expression(terms)
		return condition{kind: isTruth, left: e, sure: c.asWritten || e.kind == isConstant || e.kind == isRule || c.truths[joinPath(terms)]}, ok
	case []*ast.Term:
		return c.called(expr, terms[1:])
	case *ast.Not:
		body, ok := c.body(terms.Body)
		return condition{kind: isNot, body: body}, ok
	case *ast.LogicalOr: // binds nothing beside it
		left, ok := c.body(terms.Lhs)
		right, also := c.body(terms.Rhs)
		return condition{kind: isOr, body: left, other: right}, ok && also
	case *ast.LogicalAnd:
		left, ok := c.body(terms.Lhs)
		right, also := c.body(terms.Rhs)
		return condition{kind: isAnd, body: left, other: right}, ok && also
	case *ast.Every:
		out := condition{kind: isEvery, key: -1, value: -1}
		var ok bool
		if out.left, ok = c.expression(terms.Domain); !ok {
			return out, false
		}
		if terms.Key != nil {
			if out.key, ok = c.slot(terms.Key); !ok {
				return out, false
			}
		}
		if out.value, ok = c.slot(terms.Value); !ok {
			return out, false
		}
		out.body, ok = c.body(terms.Body)
		return out, ok
	}
	return condition{}, false
}

// called understands a call that is a condition by itself, its result the last
// operand or true.
func (c *queryCompiler) called(expr *ast.Expr, operands []*ast.Term) (condition, bool) {
	if expr.Operator().Equal(ast.Equality.Ref()) {
		left, ok := c.expression(operands[0])
		right, also := c.expression(operands[1])
		return condition{kind: unifies, left: left, right: right}, ok && also && len(operands) == 2
	}
	call, arity, ok := c.operator(expr.Operator())
	if !ok || len(operands) < arity || len(operands) > arity+1 {
		return condition{}, false
	}
	if call.parts, ok = c.expressions(operands[:arity]); !ok {
		return condition{}, false
	}
	if len(operands) == arity {
		return condition{kind: isTruth, left: call, sure: true}, true
	}
	result, ok := c.expression(operands[arity])
	return condition{kind: unifies, left: result, right: call}, ok
}

func (c *queryCompiler) operator(ref ast.Ref) (call expression, arity int, ok bool) {
	if ref.HasPrefix(ast.DefaultRootRef) {
		d, arity := c.definition(ref)
		return expression{kind: isRule, rule: d}, arity, d != nil && arity > 0
	}
	name := ref.String()
	if name == ast.WalkBuiltin.Name {
		return expression{kind: isWalk, call: topdown.GetBuiltin(name)}, 1, true
	}
	b := ast.BuiltinMap[name]
	if b == nil || !simpleBuiltins[name] {
		return call, 0, false
	}
	call = expression{kind: isCall, call: topdown.GetBuiltin(name)}
	return call, len(b.Decl.FuncArgs().Args), call.call != nil
}

func (c *queryCompiler) slot(t *ast.Term) (int, bool) {
	v, ok := t.Value.(ast.Var)
	if !ok || v == ast.InputRootDocument.Value || v == ast.DefaultRootDocument.Value {
		return -1, false
	}
	n, known := c.vars[v]
	if !known {
		n = c.query.slots
		c.query.slots++
		c.vars[v] = n
	}
	return n, true
}

func (c *queryCompiler) expressions(terms []*ast.Term) ([]expression, bool) {
	out := make([]expression, len(terms))
	for i, t := range terms {
		var ok bool
		if out[i], ok = c.expression(t); !ok {
			return nil, false
		}
	}
	return out, true
}

func (c *queryCompiler) expression(t *ast.Term) (expression, bool) {
	c.query.parts++
	if ast.IsConstant(t.Value) {
		return expression{constant: t}, true
	}
	switch v := t.Value.(type) {
	case ast.Var:
		n, ok := c.slot(t)
		return expression{kind: isSlot, slot: n}, ok
	case ast.Ref:
		return c.path(v)
	case ast.Call:
		ref, ok := v[0].Value.(ast.Ref)
		if !ok {
			return expression{}, false
		}
		call, arity, ok := c.operator(ref)
		if !ok || len(v)-1 != arity {
			return expression{}, false
		}
		call.parts, ok = c.expressions(v[1:])
		return call, ok
	case *ast.Array:
		e := expression{kind: isArray, parts: make([]expression, v.Len())}
		for i := range v.Len() {
			var ok bool
			if e.parts[i], ok = c.expression(v.Elem(i)); !ok {
				return e, false
			}
		}
		return e, true
	case ast.Set:
		e := expression{kind: isSet}
		var ok bool
		e.parts, ok = c.expressions(v.Slice())
		return e, ok
	case ast.Object:
		e := expression{kind: isObject}
		var values []*ast.Term
		for _, key := range v.Keys() {
			if !ast.IsConstant(key.Value) {
				return e, false // it may be another's equal
			}
			e.keys, values = append(e.keys, key), append(values, v.Get(key))
		}
		var ok bool
		e.parts, ok = c.expressions(values)
		return e, ok
	case *ast.ArrayComprehension:
		return c.comprehension(arrayOf, v.Body, v.Term)
	case *ast.SetComprehension:
		return c.comprehension(setOf, v.Body, v.Term)
	case *ast.ObjectComprehension:
		return c.comprehension(objectOf, v.Body, v.Key, v.Value)
	}
	return expression{}, false
}

func (c *queryCompiler) comprehension(kind expressionKind, body ast.Body, head ...*ast.Term) (expression, bool) {
	e := expression{kind: kind}
	var ok bool
	if e.body, ok = c.body(body); !ok {
		return e, false
	}
	e.parts, ok = c.expressions(head)
	return e, ok
}

func (c *queryCompiler) path(ref ast.Ref) (expression, bool) {
	var base expression
	keys := ref[1:]
	switch head := ref[0].Value.(type) {
	case ast.Var:
		switch {
		case ref.HasPrefix(parentRef):
			base, keys = expression{kind: isParent}, ref[2:]
		case head == ast.InputRootDocument.Value:
			if len(ref) < 2 {
				return base, false
			}
			if name, ok := ref[1].Value.(ast.String); !ok || name == "parent" {
				return base, false
			}
			base = expression{constant: c.input}
		case head == ast.DefaultRootDocument.Value:
			var d *definition
			for n := 2; n <= len(ref) && d == nil && ref[:n].IsGround(); n++ {
				var arity int
				if d, arity = c.definition(ref[:n]); arity > 0 {
					return base, false
				}
				keys = ref[n:]
			}
			base = expression{kind: isRule, rule: d}
			if d == nil {
				var ok bool
				if base, keys, ok = c.data(ref); !ok {
					return base, false
				}
			}
		default:
			n, ok := c.slot(ref[0])
			if !ok {
				return base, false
			}
			base = expression{kind: isSlot, slot: n}
		}
	case ast.Call:
		var ok bool
		if base, ok = c.expression(ref[0]); !ok {
			return base, false
		}
	default:
		return base, false
	}
	if len(keys) == 0 {
		return base, true
	}
	parts, ok := c.expressions(keys)
	return expression{kind: isPath, parts: append([]expression{base}, parts...)}, ok
}

// data understands a reference into the policy's data, where no rule is. Under
// data.partial are the rules that partial evaluation makes.
func (c *queryCompiler) data(ref ast.Ref) (base expression, keys ast.Ref, ok bool) {
	path, _ := groundPath(ref)
	keys = ref[1+len(path):]
	e := c.session.engine.compiled
	if len(path) == 0 || path[0] == "partial" || c.underRule(ref[:1+len(path)]) || len(e.compiler.GetRulesDynamicWithOpts(ref[:1+len(path)], ast.RulesOptions{IncludeHiddenModules: true})) > 0 {
		return base, keys, false
	}
	value, err := storage.ReadOne(c.session.ctx, e.store, path)
	if storage.IsNotFound(err) {
		return expression{kind: isPath, parts: []expression{{constant: ast.ObjectTerm()}, {constant: ast.InternedNullTerm}}}, nil, true // undefined
	}
	v, ok := value.(ast.Value)
	return expression{constant: ast.NewTerm(v)}, keys, ok && err == nil
}

// underRule reports whether a rule stands at the beginning of a name, such as one
// with a variable head: it may have what the whole name stands for.
func (c *queryCompiler) underRule(ref ast.Ref) bool {
	for n := 2; n < len(ref); n++ {
		if len(c.session.engine.compiled.compiler.GetRulesExact(ref[:n])) > 0 {
			return true
		}
	}
	return false
}

// definition understands the rules of a name, which partial evaluation made or
// left alone; nil: it does not. A function has an arity.
func (c *queryCompiler) definition(ref ast.Ref) (d *definition, arity int) {
	rules := c.support[ref.String()]
	if len(rules) == 0 {
		compiler := c.session.engine.compiled.compiler
		rules = compiler.GetRulesExact(ref)
		if len(rules) == 0 || c.underRule(ref) || len(compiler.GetRulesDynamicWithOpts(ref, ast.RulesOptions{IncludeHiddenModules: true})) != len(rules) {
			return nil, 0
		}
	}
	if c.depth++; c.depth > maxResidualBodies {
		return nil, 0
	}
	// Of a rule that partial evaluation made the head is the whole name.
	length := func(rule *ast.Rule) int { return max(len(rule.Head.Ref()), len(rule.Ref())) }
	d = &definition{set: rules[0].Head.RuleKind() == ast.MultiValue, keyed: length(rules[0]) == len(ref)+1}
	arity = len(rules[0].Head.Args)
	for _, rule := range rules {
		switch {
		case (rule.Head.RuleKind() == ast.MultiValue) != d.set, len(rule.Head.Args) != arity:
			return nil, 0
		case d.keyed && (arity > 0 || rule.Default || rule.Else != nil || length(rule) != len(ref)+1), !d.keyed && !rule.Head.Ref().IsGround():
			return nil, 0
		case rule.Default:
			d.otherwise = rule.Head.Value
			continue
		}
		var chain []branch
		for r := rule; r != nil; r = r.Else {
			b, ok := c.branch(r, d.set, d.keyed)
			if !ok {
				return nil, 0
			}
			chain = append(chain, b)
		}
		d.chains = append(d.chains, chain)
	}
	d.alike = !d.set && !d.keyed && !c.thorough && alike(d.chains)
	return d, arity
}

// alike reports whether all branches have the same constant value.
func alike(chains [][]branch) bool {
	var first *ast.Term
	for _, chain := range chains {
		for _, b := range chain {
			switch {
			case b.value.kind != isConstant:
				return false
			case first == nil:
				first = b.value.constant
			case !first.Equal(b.value.constant):
				return false
			}
		}
	}
	return true
}

func (c *queryCompiler) branch(rule *ast.Rule, set, keyed bool) (b branch, ok bool) {
	own := queryCompiler{c.residualCompiler, map[ast.Var]int{}, c.query}
	for _, arg := range rule.Head.Args {
		e, ok := own.expression(arg)
		if !ok || e.kind != isConstant && e.kind != isSlot {
			return b, false
		}
		b.params = append(b.params, e)
	}
	if b.body, ok = own.body(rule.Body); !ok {
		return b, false
	}
	if ref := rule.Head.Ref(); keyed {
		if b.key, ok = own.expression(ref[len(ref)-1]); !ok {
			return b, false
		}
	}
	value := rule.Head.Value
	if set {
		value = rule.Head.Key
	}
	if value == nil {
		if set {
			return b, false
		}
		value = ast.InternedTerm(true)
	}
	b.value, ok = own.expression(value)
	return b, ok
}
