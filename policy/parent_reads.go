package policy

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// A rule may put an object below input.parent into a variable, range over a list of
// them or give one to a function, as in
//
//	some r in input.parent.readers
//	r.id == input.subject.id
//
// What it then reads of the variable is what must be asked for: input.parent.readers[_].id.
// Where the object itself is looked at (compared, collected, given to a builtin), its
// fields cannot be known, and checkParents refuses it.

// parentUse says what is done with what stands at a path.
type parentUse uint8

const (
	// usedWhole looks at the value.
	usedWhole parentUse = iota
	// usedBound gives it to a variable, whose uses are reads of their own.
	usedBound
	// usedThere asks whether it is there, null, or an object.
	usedThere
	// usedCounted asks how many elements it has.
	usedCounted
)

// holder is a variable of a rule.
type holder struct {
	rule *ast.Rule
	name ast.Var
}

// maxPlaces bounds the places that one variable stands for.
const maxPlaces = 64

// parentWalk finds what rules read of the resolved object.
type parentWalk struct {
	functions map[string][]*ast.Rule
	places    map[holder][]ast.Ref
	binds     map[holder]int // in how many places a variable may get its value
	crowded   map[holder]bool
	changed   bool

	rule  *ast.Rule
	expr  *ast.Expr
	reads []read
}

// parentReads lists what a closure reads of the resolved object, spelt from
// input.parent on.
func parentReads(c *closure) []read {
	w := &parentWalk{
		functions: map[string][]*ast.Rule{}, places: map[holder][]ast.Ref{}, binds: map[holder]int{}, crowded: map[holder]bool{},
	}
	for _, rule := range c.rules {
		if len(rule.Head.Args) > 0 {
			w.functions[rule.Ref().String()] = append(w.functions[rule.Ref().String()], rule)
		}
	}
	for _, w.rule = range c.rules {
		w.countBinds()
	}
	for w.changed = true; w.changed; {
		w.changed, w.reads = false, nil
		for _, w.rule = range c.rules {
			w.walk()
		}
	}
	return w.reads
}

// countBinds counts, for each variable of the rule, where it may get its value.
// Beside its one such place a variable is only used.
func (w *parentWalk) countBinds() {
	params := map[ast.Var]bool{}
	for r := w.rule; r != nil; r = r.Else {
		for _, arg := range r.Head.Args {
			ast.WalkVars(arg, func(v ast.Var) bool { params[v] = true; return false })
		}
		visitor := ast.NewGenericVisitor(func(x any) bool {
			switch x := x.(type) {
			case ast.Ref:
				for _, key := range x[1:] {
					w.mayBind(key)
				}
			case *ast.Every:
				w.mayBind(x.Value)
				if x.Key != nil {
					w.mayBind(x.Key)
				}
			case *ast.Expr:
				terms, ok := x.Terms.([]*ast.Term)
				switch {
				case !ok:
				case x.IsEquality():
					w.mayBind(terms[1])
					w.mayBind(terms[2])
				case len(terms)-1 > w.arity(x):
					w.mayBind(terms[len(terms)-1])
				}
			}
			return false
		})
		visitor.Walk(r.Body)
	}
	for v := range params {
		w.binds[holder{w.rule, v}]++
	}
}

// mayBind counts the variables of a pattern.
func (w *parentWalk) mayBind(t *ast.Term) {
	switch v := t.Value.(type) {
	case ast.Var:
		w.binds[holder{w.rule, v}]++
	case *ast.Array:
		v.Foreach(w.mayBind)
	case ast.Object:
		v.Foreach(func(key, value *ast.Term) { w.mayBind(key); w.mayBind(value) })
	case ast.Set:
		v.Foreach(w.mayBind)
	}
}

// arity is how many operands a call takes; -1: not known.
func (w *parentWalk) arity(expr *ast.Expr) int {
	ref := expr.Operator()
	if ref.HasPrefix(ast.DefaultRootRef) {
		if rules := w.functions[ref.String()]; len(rules) > 0 {
			return len(rules[0].Head.Args)
		}
		return -1
	}
	if b := ast.BuiltinMap[ref.String()]; b != nil {
		return b.Decl.Arity()
	}
	return -1
}

func (w *parentWalk) walk() {
	for r := w.rule; r != nil; r = r.Else {
		for _, t := range r.Head.Reference[min(1, len(r.Head.Reference)):] {
			w.use(t, usedWhole)
		}
		for _, t := range []*ast.Term{r.Head.Key, r.Head.Value} {
			if t != nil {
				w.use(t, usedWhole)
			}
		}
		w.body(r.Body)
	}
}

func (w *parentWalk) body(body ast.Body) {
	for _, expr := range body {
		outer := w.expr
		w.expr = expr
		switch terms := expr.Terms.(type) {
		case *ast.Term:
			w.use(terms, usedThere)
		case []*ast.Term:
			w.call(expr, terms[1:])
		case *ast.Every:
			w.every(terms)
		case *ast.Not:
			w.body(terms.Body)
		case *ast.LogicalAnd:
			w.body(terms.Lhs)
			w.body(terms.Rhs)
		case *ast.LogicalOr:
			w.body(terms.Lhs)
			w.body(terms.Rhs)
		}
		for _, with := range expr.With {
			w.use(with.Value, usedWhole)
		}
		w.expr = outer
	}
}

func (w *parentWalk) every(every *ast.Every) {
	v, ok := every.Value.Value.(ast.Var)
	if ok = ok && w.holds(w.rule, v); ok {
		for _, place := range w.standsFor(every.Domain) {
			w.bind(w.rule, v, place.Append(ast.VarTerm("_")))
		}
	}
	w.use(every.Domain, bound(ok))
	w.body(every.Body)
}

func bound(ok bool) parentUse {
	if ok {
		return usedBound
	}
	return usedWhole
}

// call looks at a call or unification that is an expression.
func (w *parentWalk) call(expr *ast.Expr, operands []*ast.Term) {
	name := expr.Operator().String()
	isNull := func(t *ast.Term) bool { return t.Value.Compare(ast.NullValue) == 0 }
	switch {
	case expr.IsEquality():
		if !w.unify(operands[0], operands[1]) && !w.unify(operands[1], operands[0]) {
			w.compared(operands, isNull)
		}
	case name == ast.NotEqual.Name || name == ast.Equal.Name:
		w.compared(operands, isNull)
	case name == ast.Count.Name:
		w.use(operands[0], usedCounted)
		w.rest(operands[1:])
	case name == ast.IsNull.Name, name == ast.IsObject.Name, name == ast.IsArray.Name, name == ast.TypeNameBuiltin.Name:
		w.use(operands[0], usedThere)
		w.rest(operands[1:])
	case name == ast.ObjectGet.Name && w.get(operands):
		w.rest(operands[1:])
	case len(w.functions[name]) > 0:
		w.function(w.functions[name], operands)
	default:
		w.rest(operands)
	}
}

func (w *parentWalk) rest(operands []*ast.Term) {
	for _, t := range operands {
		w.use(t, usedWhole)
	}
}

func (w *parentWalk) compared(operands []*ast.Term, isNull func(*ast.Term) bool) {
	if len(operands) == 2 && (isNull(operands[0]) || isNull(operands[1])) {
		w.use(operands[0], usedThere)
		w.use(operands[1], usedThere)
		return
	}
	w.rest(operands)
}

// unify reports whether the first operand is a variable that stands for the
// second from here on.
func (w *parentWalk) unify(variable, value *ast.Term) bool {
	v, ok := variable.Value.(ast.Var)
	if !ok || w.expr.Negated || !w.holds(w.rule, v) {
		return false
	}
	switch value.Value.(type) {
	case ast.Var, ast.Ref:
	default:
		return false
	}
	for _, place := range w.standsFor(value) {
		w.bind(w.rule, v, place)
	}
	w.use(value, usedBound)
	return true
}

// get understands object.get(object, "field", …), whose field is read.
func (w *parentWalk) get(operands []*ast.Term) bool {
	if len(operands) < 3 {
		return false
	}
	keys := []*ast.Term{operands[1]}
	if list, ok := operands[1].Value.(*ast.Array); ok {
		keys = nil
		list.Foreach(func(t *ast.Term) { keys = append(keys, t) })
	}
	if len(keys) == 0 || slices.ContainsFunc(keys, func(t *ast.Term) bool { _, text := t.Value.(ast.String); return !text }) {
		return false
	}
	for _, place := range w.standsFor(operands[0]) {
		w.read(place.Concat(keys), nil, operands[0], usedWhole)
	}
	w.use(operands[0], usedBound)
	return true
}

// function follows what a function is given into its parameters.
func (w *parentWalk) function(rules []*ast.Rule, operands []*ast.Term) {
	for i, t := range operands {
		held := true
		for _, rule := range rules {
			for r := rule; r != nil; r = r.Else {
				if i < len(r.Head.Args) {
					v, ok := r.Head.Args[i].Value.(ast.Var)
					held = held && ok && w.holds(rule, v)
				} else {
					held = false
				}
			}
		}
		w.use(t, bound(held))
		if !held {
			continue
		}
		for _, place := range w.standsFor(t) {
			for _, rule := range rules {
				for r := rule; r != nil; r = r.Else {
					w.bind(rule, r.Head.Args[i].Value.(ast.Var), place)
				}
			}
		}
	}
}

// holds reports whether a variable gets its value in one place only.
func (w *parentWalk) holds(rule *ast.Rule, v ast.Var) bool {
	at := holder{rule, v}
	return w.binds[at] == 1 && !w.crowded[at] && v != ast.InputRootDocument.Value && v != ast.DefaultRootDocument.Value
}

func (w *parentWalk) bind(rule *ast.Rule, v ast.Var, place ast.Ref) {
	at := holder{rule, v}
	if slices.ContainsFunc(w.places[at], func(p ast.Ref) bool { return p.Equal(place) }) {
		return
	}
	w.changed = true
	if len(w.places[at]) == maxPlaces {
		w.crowded[at] = true
		return
	}
	w.places[at] = append(w.places[at], place)
}

// standsFor lists the paths below input.parent that a variable or path means.
func (w *parentWalk) standsFor(t *ast.Term) []ast.Ref {
	switch v := t.Value.(type) {
	case ast.Var:
		return w.places[holder{w.rule, v}]
	case ast.Ref:
		if v.HasPrefix(parentRef) {
			return []ast.Ref{v}
		}
		head, ok := v[0].Value.(ast.Var)
		if !ok {
			return nil
		}
		var out []ast.Ref
		for _, place := range w.places[holder{w.rule, head}] {
			out = append(out, place.Concat(v[1:]))
		}
		return out
	}
	return nil
}

// use notes the reads of a term and of everything in it.
func (w *parentWalk) use(t *ast.Term, use parentUse) {
	switch v := t.Value.(type) {
	case ast.Var:
		for _, place := range w.standsFor(t) {
			w.read(place, v, t, use)
		}
	case ast.Ref:
		for _, key := range v[1:] {
			w.use(key, usedWhole)
		}
		if _, ok := v[0].Value.(ast.Var); !ok {
			w.use(v[0], usedWhole)
		}
		for _, place := range w.standsFor(t) {
			w.read(place, v, t, use)
		}
	case ast.Call:
		w.rest(v[1:])
	case *ast.Array:
		v.Foreach(func(t *ast.Term) { w.use(t, usedWhole) })
	case ast.Set:
		v.Foreach(func(t *ast.Term) { w.use(t, usedWhole) })
	case ast.Object:
		v.Foreach(func(key, value *ast.Term) { w.use(key, usedWhole); w.use(value, usedWhole) })
	case *ast.ArrayComprehension:
		w.body(v.Body)
		w.use(v.Term, usedWhole)
	case *ast.SetComprehension:
		w.body(v.Body)
		w.use(v.Term, usedWhole)
	case *ast.ObjectComprehension:
		w.body(v.Body)
		w.use(v.Key, usedWhole)
		w.use(v.Value, usedWhole)
	}
}

func (w *parentWalk) read(place ast.Ref, spelt ast.Value, t *ast.Term, use parentUse) {
	loc := t.Location
	if loc == nil && w.expr != nil {
		loc = w.expr.Location
	}
	path, open := groundPath(place)
	w.reads = append(w.reads, read{path: path, open: open, ref: place, spelt: spelt, loc: loc, expr: w.expr, rule: w.rule, use: use})
}
