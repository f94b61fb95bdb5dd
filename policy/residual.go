package policy

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// A rule about the object is evaluated partially, once for each projection of
// everything but the object. What remains is mostly a few comparisons with the
// object's fields, which are made here, and else a query (query.go): ten to a
// hundred times as fast as asking OPA for each object. Where anything else remains,
// OPA is asked for each distinct projection of the object. The differential test
// holds all of them to OPA's answer.

// residual is what remains of a rule: it allows an object when any of its
// bodies holds. The zero value allows nothing.
type residual struct {
	bodies []residualBody
	// opaque says that something remains that is not understood.
	opaque bool
	// plain says that OPA left no body, or one of which nothing remains.
	plain bool
}

// always and never report what holds for every object.
func (r *residual) always() bool {
	return !r.opaque && slices.ContainsFunc(r.bodies, func(b residualBody) bool { return len(b) == 0 })
}

func (r *residual) never() bool { return !r.opaque && len(r.bodies) == 0 }

// size approximates the bytes that a residual holds.
func (r *residual) size() int {
	n := 64
	for _, b := range r.bodies {
		n += 64 + 256*len(b)
		for i := range b {
			if q := b[i].query; q != nil {
				n += 256 * q.parts
			}
		}
	}
	return n
}

type residualBody []residualExpr

// residualExpr is one condition: a truth, a comparison, or others
// together.
type residualExpr struct {
	negated bool
	builtin topdown.BuiltinFunc // nil: the first operand is true in itself
	output  bool                // the last operand is the builtin's result
	args    []operand
	either  []residual
	all     residualBody
	query   *query
	kind    exprKind
	// doubtful marks a truth that may have been no more than that the path is
	// there: partial evaluation leaves the same of both. They differ for false.
	doubtful bool
}

type exprKind uint8

const (
	exprCall exprKind = iota
	exprUnify
	exprTruth
	exprEither
	exprAll
	exprQuery
)

// operand is a constant or a path into the object; a nil key stands for every
// element.
type operand struct {
	constant *ast.Term
	path     []*ast.Term
}

func (o *operand) wild() bool { return slices.Contains(o.path, nil) }

// maxResidualBodies bounds what is made of one rule.
const maxResidualBodies = 256

// simpleBuiltins are the builtins that are called here. Their results depend
// on their operands alone, and they need no more of an evaluation's context than
// that it can be cancelled. With time.now_ns a rule is evaluated by a query.
var simpleBuiltins = func() map[string]bool {
	out := map[string]bool{}
	for _, name := range strings.Fields(`
		eq neq lt lte gt gte equal internal.member_2 internal.member_3 internal.template_string
		plus minus mul div rem abs round ceil floor bits.or bits.and bits.negate bits.xor bits.lsh bits.rsh
		and or minus intersection union count sum product max min sort
		array.concat array.flatten array.slice array.reverse
		object.get object.keys object.union object.union_n object.remove object.filter object.subset
		json.filter json.remove json.marshal json.unmarshal json.is_valid
		is_null is_string is_number is_boolean is_array is_object is_set type_name to_number
		startswith endswith contains lower upper trim_space trim trim_left trim_right trim_prefix trim_suffix
		split strings.split_n substring indexof indexof_n format_int concat replace strings.replace_n strings.count strings.reverse
		strings.any_prefix_match strings.any_suffix_match sprintf
		regex.match regex.is_valid regex.find_n regex.split regex.replace regex.find_all_string_submatch_n glob.match glob.quote_meta
		numbers.range units.parse units.parse_bytes uuid.parse semver.is_valid semver.compare
		base64.encode base64.decode base64.is_valid base64url.encode base64url.encode_no_pad base64url.decode
		hex.encode hex.decode urlquery.encode urlquery.decode uri.parse uri.is_valid
		crypto.md5 crypto.sha1 crypto.sha256 crypto.hmac.md5 crypto.hmac.sha1 crypto.hmac.sha256 crypto.hmac.sha512 crypto.hmac.equal
		net.cidr_contains net.cidr_intersects net.cidr_is_valid graph.reachable
		time.now_ns time.parse_ns time.parse_rfc3339_ns time.parse_duration_ns time.format time.date time.clock time.weekday
		time.add_date time.diff`) {
		out[name] = true
	}
	return out
}()

// clock is the one builtin that is called here although it depends on more than
// its operands: one call of Judge has one time, as one evaluation of OPA has.
const clock = "time.now_ns"

// residual returns what remains of a class once all but the object is known.
func (s *session) residual(c objectClass) (*residual, error) {
	e, same := s.engine, c.class.same
	s.key = binary.AppendUvarint(s.key[:0], uint64(len(e.classes)+1+same.id))
	if same.group.vars {
		s.key = appendText(appendText(s.key, tagString, c.at.typ), tagString, c.at.field)
	}
	head := len(s.key)
	s.key = appendInput(s.key, &same.shape, &s.facts)
	if r, ok := e.answers.get(s.key).(*residual); ok {
		return r, nil
	}
	ref := entryRef(same.group.name)
	if same.group.vars {
		ref = append(ref, ast.StringTerm(c.at.typ), ast.StringTerm(c.at.field))
	}
	key := bytes.Clone(s.key)
	k := residualCompiler{session: s, input: decodeInput(&same.shape, s.key[head:]), rule: same.group.head, truths: same.truths}
	r, err := k.whole(same, ast.NewBody(ast.Equality.Expr(ast.NewTerm(ref), ast.InternedTerm(true))))
	if err != nil {
		return nil, err
	}
	e.answers.put(key, r, r.size())
	return r, nil
}

// whole evaluates a rule partially where that means the same, and else takes
// the rule as it is.
func (k *residualCompiler) whole(c *class, body ast.Body) (*residual, error) {
	for _, definition := range c.apart {
		if holds, err := k.holds(definition); holds || err != nil {
			return &residual{bodies: []residualBody{{}}, plain: true}, err
		}
	}
	if c.opaque {
		return &residual{opaque: true}, nil
	}
	if c.single && !c.scans {
		r, err := k.partial(body)
		if err != nil || !r.opaque && (!c.entangled || r.plain) {
			return r, err
		}
	}
	k.support, k.depth, k.asWritten, k.thorough = nil, 0, true, !c.single
	q := k.query(body)
	if q == nil {
		return &residual{opaque: true}, nil
	}
	return &residual{bodies: []residualBody{{{kind: exprQuery, query: q}}}}, nil
}

// holds reports whether a body that reads nothing of the object has a solution.
// It is asked as a comprehension's: a query of its own would also be answered
// where an expression is false, with that value.
func (k *residualCompiler) holds(body ast.Body) (bool, error) {
	query, err := k.session.engine.prepare(ast.NewBody(ast.NewExpr(ast.ArrayComprehensionTerm(ast.BooleanTerm(true), body))))
	if err != nil {
		return false, nil //nolint:nilerr // what cannot be prepared is decided with the rest of the rule
	}
	solutions, err := k.session.eval(&query, k.input, k.rule)
	if err != nil || solutions == nil {
		return false, err
	}
	list, ok := solutions.Value.(*ast.Array)
	return ok && list.Len() > 0, nil
}

// partial evaluates a body partially. What OPA cannot evaluate so is opaque.
func (k *residualCompiler) partial(body ast.Body) (*residual, error) {
	s := k.session
	if k.nested++; k.nested > maxResidualBodies {
		return &residual{opaque: true}, nil
	}
	if s.ctx.Err() != nil {
		return nil, s.failed(context.Cause(s.ctx), k.rule)
	}
	s.arm()
	query, err := rego.New(
		rego.ParsedQuery(body),
		rego.Compiler(s.engine.compiled.compiler),
		rego.Store(s.engine.compiled.store),
		rego.ParsedUnknowns([]*ast.Term{ast.NewTerm(parentRef)}),
	).PrepareForPartial(context.WithoutCancel(s.ctx))
	if err != nil {
		return &residual{opaque: true}, nil //nolint:nilerr // what cannot be prepared is left to OPA as a whole
	}
	left, err := query.Partial(context.WithoutCancel(s.ctx),
		rego.EvalParsedInput(k.input.Value), rego.EvalMetrics(metrics.NoOp()), rego.EvalExternalCancel(s.cancel))
	if err != nil {
		err = s.failed(err, k.rule)
		if broken := (*EvalError)(nil); errors.As(err, &broken) {
			return &residual{opaque: true}, nil
		}
		return nil, err
	}
	return k.compile(left)
}

// residualCompiler understands what partial evaluation left.
type residualCompiler struct {
	session *session
	input   *ast.Term
	rule    string
	truths  map[string]bool // class.truths
	nested  int             // partial evaluations so far
	support map[string][]*ast.Rule
	depth   int
	// asWritten says that the rules are not what partial evaluation left.
	asWritten bool
	// thorough says that definitions may disagree with themselves: OPA, which tries
	// them in an order of its own, may fail of one where another holds.
	thorough bool
}

// compile returns an opaque residual for what it does not understand. Errors
// are the partial evaluation's.
func (k *residualCompiler) compile(queries *rego.PartialQueries) (*residual, error) {
	outer := k.support
	defer func() { k.support = outer }()
	k.support = map[string][]*ast.Rule{}
	for _, m := range queries.Support {
		for _, rule := range m.Rules {
			name := m.Package.Path.Extend(rule.Head.Ref()).String()
			k.support[name] = append(k.support[name], rule)
		}
	}
	return k.bodies(queries.Queries)
}

func (k *residualCompiler) bodies(bodies []ast.Body) (*residual, error) {
	out := &residual{}
	if slices.ContainsFunc(bodies, isTruism) {
		return &residual{bodies: []residualBody{{}}, plain: true}, nil // whatever else remains
	}
	out.plain = len(bodies) == 0
	if len(bodies) > maxResidualBodies {
		return &residual{opaque: true}, nil
	}
	for _, b := range bodies {
		body, ok, err := k.body(b)
		if err != nil {
			return nil, err
		}
		if !ok {
			return &residual{opaque: true}, nil
		}
		if body = body.reduce(); body != nil {
			out.bodies = append(out.bodies, body)
		}
	}
	return out, nil
}

// isTruism reports whether nothing remains of a body.
func isTruism(b ast.Body) bool {
	return !slices.ContainsFunc(b, func(e *ast.Expr) bool {
		t, ok := e.Terms.(*ast.Term)
		return !ok || e.Negated || len(e.With) > 0 || !ast.Boolean(true).Equal(t.Value)
	})
}

// reduce leaves out what holds for every object; nil where something holds
// for none.
func (b residualBody) reduce() residualBody {
	out := residualBody{}
	for _, e := range b {
		always, never := e.settled()
		if e.negated {
			always, never = never, always
		}
		switch {
		case never:
			return nil
		case always:
			continue
		}
		out = append(out, e)
	}
	return out
}

// supported understands a reference to a rule that partial evaluation made,
// where the rule can be true or else does not hold.
func (k *residualCompiler) supported(ref ast.Ref) (*residual, error) {
	rules := k.support[ref.String()]
	if k.depth++; len(rules) == 0 || k.depth > maxResidualBodies {
		return &residual{opaque: true}, nil
	}
	var bodies []ast.Body
	for _, rule := range rules {
		v := rule.Head.Value
		switch {
		case len(rule.Head.Args) > 0 || rule.Else != nil || rule.Head.RuleKind() != ast.SingleValue || v == nil:
			return &residual{opaque: true}, nil
		case rule.Default && ast.Boolean(false).Equal(v.Value):
		case !rule.Default && ast.Boolean(true).Equal(v.Value):
			bodies = append(bodies, rule.Body)
		default:
			return &residual{opaque: true}, nil
		}
	}
	return k.bodies(bodies)
}

// settled reports whether others together hold for every object, or for none.
func (e *residualExpr) settled() (always, never bool) {
	switch e.kind {
	case exprEither:
		return slices.ContainsFunc(e.either, func(r residual) bool { return r.always() }),
			!slices.ContainsFunc(e.either, func(r residual) bool { return !r.never() })
	case exprAll:
		all := e.all.reduce()
		return all != nil && len(all) == 0, all == nil
	}
	return false, false
}

func (k *residualCompiler) body(body ast.Body) (residualBody, bool, error) {
	seen := map[ast.Var]int{}
	for _, expr := range body {
		vis := ast.NewVarVisitor().WithParams(ast.VarVisitorParams{})
		vis.Walk(expr)
		for v := range vis.Vars() {
			seen[v]++
		}
	}
	out := residualBody{}
	for _, expr := range body {
		if isTruism(ast.Body{expr}) {
			continue
		}
		e, ok, err := k.expr(expr, seen)
		if err != nil {
			return nil, false, err
		}
		if !ok {
			q := k.query(body)
			return residualBody{{kind: exprQuery, query: q}}, q != nil, nil
		}
		out = append(out, e)
	}
	return out, true, nil
}

func (k *residualCompiler) expr(expr *ast.Expr, seen map[ast.Var]int) (residualExpr, bool, error) {
	e := residualExpr{negated: expr.Negated}
	if len(expr.With) > 0 {
		return e, false, nil
	}
	switch terms := expr.Terms.(type) {
	case *ast.Term:
		if ref, ok := terms.Value.(ast.Ref); ok && ref.HasPrefix(ast.DefaultRootRef) {
			r, err := k.supported(ref)
			if err != nil {
				return e, false, err
			}
			e.kind, e.either = exprEither, []residual{*r}
			return e, !r.opaque, nil
		}
		e.kind = exprTruth
		o, ok := k.operand(terms, seen)
		e.args = []operand{o}
		e.doubtful = o.constant == nil && !k.truths[joinPath(terms)]
		return e, ok && e.sound(), nil
	case []*ast.Term:
		return e, k.call(&e, expr, terms, seen) && e.sound(), nil
	case *ast.LogicalOr:
		e.kind = exprEither
		for _, side := range []ast.Body{terms.Lhs, terms.Rhs} {
			if !closed(side) {
				return e, false, nil
			}
			r, err := k.partial(side)
			if err != nil {
				return e, false, err
			}
			if r.opaque {
				return e, false, nil
			}
			e.either = append(e.either, *r)
		}
		return e, true, nil
	case *ast.Not:
		if !closed(terms.Body) {
			return e, false, nil
		}
		all, ok, err := k.body(terms.Body)
		e.kind, e.all = exprAll, all
		e.negated = !e.negated
		return e, ok && err == nil, err
	}
	return e, false, nil
}

// closed reports whether a body has no variables, which could be bound beside it.
func closed(body ast.Body) bool {
	vis := ast.NewVarVisitor().WithParams(ast.VarVisitorParams{SkipRefCallHead: true, SkipRefHead: true})
	vis.Walk(body)
	return len(vis.Vars()) == 0
}

// sound reports whether the expression means the same here as in OPA: a
// negated one must not range over elements, nor one with two ranges of them.
func (e *residualExpr) sound() bool {
	ranges := 0
	for i := range e.args {
		if e.args[i].wild() {
			ranges++
		}
	}
	return ranges == 0 || ranges == 1 && !e.negated
}

func (k *residualCompiler) call(e *residualExpr, expr *ast.Expr, terms []*ast.Term, seen map[ast.Var]int) bool {
	name := expr.Operator().String()
	for _, t := range terms[1:] {
		o, ok := k.operand(t, seen)
		if !ok {
			return false
		}
		e.args = append(e.args, o)
	}
	if name == ast.Equality.Name {
		e.kind = exprUnify
		return len(e.args) == 2
	}
	b := ast.BuiltinMap[name]
	if b == nil || !simpleBuiltins[name] || name == clock {
		return false
	}
	e.builtin = topdown.GetBuiltin(name)
	arity := len(b.Decl.FuncArgs().Args)
	e.output = len(e.args) == arity+1
	return e.builtin != nil && (e.output || len(e.args) == arity)
}

func (k *residualCompiler) operand(t *ast.Term, seen map[ast.Var]int) (operand, bool) {
	if ref, ok := t.Value.(ast.Ref); ok {
		return k.path(ref, seen)
	}
	return operand{constant: t}, ast.IsConstant(t.Value)
}

// path understands input.parent.… with keys that are constants or variables
// that occur nowhere else.
func (k *residualCompiler) path(ref ast.Ref, seen map[ast.Var]int) (operand, bool) {
	if len(ref) < 3 || !ref.HasPrefix(parentRef) {
		return operand{}, false
	}
	var o operand
	for i, t := range ref[2:] {
		switch v := t.Value.(type) {
		case ast.String, ast.Number:
			o.path = append(o.path, t)
		case ast.Var:
			if seen[v] != 1 || slices.ContainsFunc(ref[2+i+1:], func(u *ast.Term) bool { return u.Value.Compare(v) == 0 }) {
				return operand{}, false
			}
			o.path = append(o.path, nil)
		default:
			return operand{}, false
		}
	}
	return o, true
}

// parentRef is input.parent.
var parentRef = ast.InputRootRef.Append(ast.StringTerm("parent"))

// parentTruths lists the paths that rules read as conditions by themselves
// only, such as input.parent.public.
func parentTruths(c *closure) map[string]bool {
	out := map[string]bool{}
	for _, rd := range c.parent {
		key := joinPath(ast.NewTerm(rd.ref))
		before, seen := out[key]
		alone := false
		if rd.expr != nil && rd.spelt != nil {
			t, ok := rd.expr.Terms.(*ast.Term)
			alone = ok && t.Value.Compare(rd.spelt) == 0
		}
		out[key] = alone && (before || !seen)
	}
	return out
}

// joinPath spells a reference; all variables are alike.
func joinPath(t *ast.Term) string {
	ref, ok := t.Value.(ast.Ref)
	if !ok {
		return ""
	}
	var b strings.Builder
	for _, key := range ref {
		if _, variable := key.Value.(ast.Var); variable {
			b.WriteString("_.")
			continue
		}
		b.WriteString(key.String() + ".")
	}
	return b.String()
}

// holds decides for one object. It sets doubt where only OPA can tell.
func (r *residual) holds(parent ast.Value, ctx *topdown.BuiltinContext, doubt *bool) bool {
	for i := range r.bodies {
		if r.bodies[i].holds(parent, ctx, doubt) {
			return true
		}
	}
	return false
}

func (b residualBody) holds(parent ast.Value, ctx *topdown.BuiltinContext, doubt *bool) bool {
	for i := range b {
		if b[i].holds(parent, ctx, doubt) == b[i].negated {
			return false
		}
	}
	return true
}

// holds leaves negation to the caller.
func (e *residualExpr) holds(parent ast.Value, ctx *topdown.BuiltinContext, doubt *bool) bool {
	switch e.kind {
	case exprEither:
		for i := range e.either {
			if e.either[i].holds(parent, ctx, doubt) {
				return true
			}
		}
		return false
	case exprAll:
		return e.all.holds(parent, ctx, doubt)
	case exprQuery:
		return e.query.holds(parent, ctx, doubt)
	}
	var buf [3]*ast.Term
	return e.each(parent, buf[:0], ctx, doubt)
}

// each resolves the operands from the first on, and tries each element that
// one ranges over.
func (e *residualExpr) each(parent ast.Value, values []*ast.Term, ctx *topdown.BuiltinContext, doubt *bool) bool {
	if len(values) == len(e.args) {
		return e.test(values, ctx, doubt)
	}
	o := &e.args[len(values)]
	if o.constant != nil {
		return e.each(parent, append(values, o.constant), ctx, doubt)
	}
	return eachValue(parent, o.path, func(v ast.Value) bool {
		return e.each(parent, append(values, &ast.Term{Value: v}), ctx, doubt)
	})
}

// eachValue calls visit with every value at the path until it returns true.
func eachValue(v ast.Value, path []*ast.Term, visit func(ast.Value) bool) bool {
	for i, key := range path {
		if key == nil {
			return eachElement(v, func(t *ast.Term) bool { return eachValue(t.Value, path[i+1:], visit) })
		}
		var next *ast.Term
		switch v := v.(type) {
		case ast.Object:
			next = v.Get(key)
		case *ast.Array:
			next = v.Get(key)
		}
		if next == nil {
			return false
		}
		v = next.Value
	}
	return visit(v)
}

func eachElement(v ast.Value, visit func(*ast.Term) bool) bool {
	switch v := v.(type) {
	case ast.Object:
		return v.Until(func(_, t *ast.Term) bool { return visit(t) })
	case *ast.Array:
		return v.Until(visit)
	}
	return false
}

func (e *residualExpr) test(values []*ast.Term, ctx *topdown.BuiltinContext, doubt *bool) bool {
	switch e.kind {
	case exprTruth:
		ok := !ast.Boolean(false).Equal(values[0].Value)
		*doubt = *doubt || !ok && e.doubtful
		return ok
	case exprUnify:
		return ast.Compare(values[0].Value, values[1].Value) == 0
	}
	operands := values
	if e.output {
		operands = values[:len(values)-1]
	}
	result := callBuiltin(e.builtin, ctx, operands, doubt)
	switch {
	case result == nil:
		return false
	case e.output:
		return result.Equal(values[len(values)-1])
	}
	return !ast.Boolean(false).Equal(result.Value)
}

// apart lists the bodies of the definitions of an allow rule that read nothing of
// the object, where all definitions say true and it is not evaluated partially: one
// that holds allows whatever the object is, and whether or not it can be read.
func (a *analyser) apart(rules []*ast.Rule) (out []ast.Body) {
	for _, rule := range rules {
		v := rule.Head.Value
		switch {
		case rule.Default:
			continue
		case rule.Else != nil, v == nil, !ast.Boolean(true).Equal(v.Value), !rule.Head.Ref().IsGround():
			return nil
		}
		c := a.close([]*ast.Rule{rule})
		if len(c.impure) == 0 && !slices.ContainsFunc(c.reads, func(rd read) bool { return rd.ofParent() || len(rd.path) == 0 }) {
			out = append(out, rule.Body)
		}
	}
	return out
}

// single reports whether a rule can be evaluated partially: no rule that depends on
// the object can have two values, which OPA refuses and partial evaluation does not
// see. scans says that one ranges over
// the policy's data, of which partial evaluation would make a condition for each
// entry.
func (a *analyser) single(c *closure) (single, scans, entangled bool) {
	dependent := map[*ast.Rule]bool{}
	depends := func(rule *ast.Rule) bool {
		f := a.of(rule)
		return len(rule.Head.Args) > 0 || // it may be given the object, or what is in it
			slices.ContainsFunc(f.reads, func(rd read) bool { return rd.ofParent() }) ||
			slices.ContainsFunc(f.deps, func(dep *ast.Rule) bool { return dependent[dep] })
	}
	for changed := true; changed; {
		changed = false
		for _, rule := range c.rules {
			if dependent[rule] || !depends(rule) {
				continue
			}
			changed = true
			for _, other := range c.rules {
				if other.Ref().Equal(rule.Ref()) {
					dependent[other] = true // other definitions of the name, its default too
				}
			}
		}
	}
	for rule := range dependent {
		if !a.oneValue(rule, c.rules) {
			return false, false, false
		}
		scans = scans || ranges(rule, ast.DefaultRootDocument)
	}
	return true, scans, entangles(dependent)
}

// entangles reports whether partial evaluation may forget that a path had to be
// there: it puts paths in the place of variables, and takes one that then stands in a
// negation, an or, an every or a comprehension for one that is asked for anyway.
// Of w := input.parent.a; not w == 1 it leaves not input.parent.a == 1, which
// holds for an object without a. Of [_, b] := split(input.parent.a, "-"); b == input.parent.a
// it forgets the comparison.
func entangles(rules map[*ast.Rule]bool) bool {
	either, bound := false, false
	for rule := range rules {
		negates := false
		visitor := ast.NewGenericVisitor(func(x any) bool {
			switch x := x.(type) {
			case *ast.Expr:
				negates = negates || x.Negated || takesApart(x)
				bound = bound || x.IsEquality() && changing(x.Operand(0)) && changing(x.Operand(1))
			case *ast.Not, *ast.Every, *ast.ArrayComprehension, *ast.SetComprehension, *ast.ObjectComprehension:
				negates = true
			case *ast.LogicalOr, *ast.LogicalAnd:
				either = true
			case ast.Var:
				bound = bound || x != ast.InputRootDocument.Value && x != ast.DefaultRootDocument.Value
			case ast.Ref: // the name of a builtin is no variable
				if _, global := x[0].Value.(ast.Var); global && x.IsGround() {
					return true
				}
			}
			return negates
		})
		for r := rule; r != nil; r = r.Else { // without the rule's name
			visitor.Walk(r.Body)
			for _, arg := range r.Head.Args {
				visitor.Walk(arg)
			}
		}
		if negates {
			return true
		}
	}
	return either && bound
}

// changing reports whether a term is a path that may depend on the object.
func changing(t *ast.Term) bool {
	ref, ok := t.Value.(ast.Ref)
	return ok && (ref.HasPrefix(parentRef) || ref.HasPrefix(ast.DefaultRootRef))
}

// oneValue reports whether a rule can have one value only, with the rules of
// the same name.
func (a *analyser) oneValue(rule *ast.Rule, all []*ast.Rule) bool {
	if rule.Head.RuleKind() != ast.SingleValue {
		return rule.Head.Ref().IsGround() && rule.Head.Key != nil
	}
	if rule.Default {
		return len(rule.Head.Args) == 0
	}
	if rule.Else != nil {
		for r := rule; r != nil; r = r.Else {
			if r.Head.Value != nil && !ast.IsConstant(r.Head.Value.Value) {
				return false
			}
		}
		return rule.Head.Ref().IsGround() &&
			!slices.ContainsFunc(all, func(r *ast.Rule) bool { return r != rule && !r.Default && r.Ref().Equal(rule.Ref()) })
	}
	if rule.Head.Value == nil || ast.Boolean(true).Equal(rule.Head.Value.Value) {
		return true
	}
	if slices.ContainsFunc(all, func(r *ast.Rule) bool { return r != rule && !r.Default && r.Ref().Equal(rule.Ref()) }) {
		return false
	}
	return rule.Head.Ref().IsGround() && !ranges(rule, ast.InputRootDocument) && !ranges(rule, ast.DefaultRootDocument) && !relates(rule)
}

// ranges reports whether a rule has a reference below root with a key that is
// not a constant.
func ranges(rule *ast.Rule, root *ast.Term) bool {
	found := false
	ast.WalkRefs(rule, func(ref ast.Ref) bool {
		if ref[0].Value.Compare(root.Value) == 0 && !ref.IsGround() {
			found = true
		}
		return found
	})
	return found
}

// takesApart reports whether an expression walks, or has variables in arrays and
// objects, which it may be to bind.
func takesApart(expr *ast.Expr) bool {
	terms, ok := expr.Terms.([]*ast.Term)
	if !ok {
		return false
	}
	return expr.Operator().Equal(ast.WalkBuiltin.Ref()) || slices.ContainsFunc(terms[1:], func(t *ast.Term) bool {
		switch t.Value.(type) {
		case *ast.Array, ast.Object, ast.Set:
			return !ast.IsConstant(t.Value)
		}
		return false
	})
}

// relates reports whether a rule takes values apart in other ways that can
// give more than one.
func relates(rule *ast.Rule) bool {
	found := false
	ast.WalkRefs(rule, func(ref ast.Ref) bool {
		_, local := ref[0].Value.(ast.Var)
		found = found || ref.String() == ast.WalkBuiltin.Name || local && !ref.IsGround()
		return found
	})
	return found
}
