package cost

import (
	"math"
	"sync"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/schema"
)

// Program prices one operation. It is immutable and safe for concurrent use.
//
// It is a DAG of scopes: a scope is the maximum over its regions, a region the
// sum of its members, a member a response key whose child is an earlier scope.
// Whatever does not depend on variables was folded when it was compiled.
type Program struct {
	model       *Model
	operation   string
	approximate bool
	work        int // selections that compiling looked at, in vain too

	scopes  []scope
	regions []region
	members []member
	groups  []group
	terms   []inputTerm
	extras  []extra
	sizes   []sizeOp
	guards  []guardOp

	dynamicScopes []int32
	dynamicSizes  []int32

	root     int32
	rootName string
	base     pair // paid by the operation itself
	constant bool
	fixed    Estimate // when constant

	shapeOnce sync.Once
	shape     *shape
}

// pair is a price by component; profiles with one score use a alone.
type pair struct{ a, b float64 }

// priced is a price with the first group that refuses to be priced: its index
// plus one, 0 when there is none.
type priced struct {
	pair
	bad int32
}

type span struct{ lo, hi int32 }

type scope struct {
	regions  span
	constant bool
	value    priced // when constant
}

// region sums members; those from fixed on are constant, always live, and
// already in base.
type region struct {
	members  span
	fixed    int32
	base     priced
	types    schema.TypeSet // nil in a syntactic program
	typename string         // response key of __typename; "" when it is not selected
}

// member is a group under a guard, or in a syntactic program, when group is
// negative, the scope ^group of a fragment.
type member struct{ group, guard int32 }

// group is a response key.
type group struct {
	field    *ast.Field // the first occurrence
	spec     *fieldSpec
	call     float64 // field and constant inputs
	terms    span    // inputs that variables decide
	extras   span    // weighted directives
	expected int32   // size that @listSize expects; -1: none
	length   int32   // size of the list that is returned; -1: no list
	child    int32   // scope; -1: a leaf
	constant bool
	// shared: object types share the group, so that its coordinate names the type
	// that the field is selected on; otherwise it is the spec's.
	shared bool
	value  priced // when constant
}

// key is the response key.
func (g *group) key() string { return g.field.Alias }

// extra is the price of the directives on one occurrence.
type extra struct {
	guard int32
	base  float64
	terms span
}

// Estimate is what an operation can cost at most, or what a response did cost.
// All numbers are finite, not negative and at most Saturation. A profile fills
// what it has: Field and Type (default, ibm), Nodes and Points (github), Score
// (apollo, shopify, shopify_log, simple); the rest is 0.
type Estimate struct {
	// Total is what is limited and charged: Field + Type, Points, or Score.
	Total                             float64
	Field, Type, Nodes, Points, Score float64
	// Saturated says that a number passed Saturation and was cut.
	Saturated bool
	// Approximate says that the operation was too large for an exact bound; the
	// numbers are an upper bound of it.
	Approximate bool
}

func (g *group) coordinate() string {
	if !g.shared {
		return g.spec.coordinate
	}
	return g.field.ObjectDefinition.Name + "." + g.spec.name
}

func (p *Program) addGroup(g *group) int32 {
	id := int32(len(p.groups))
	g.constant = g.terms.lo == g.terms.hi && g.extras.lo == g.extras.hi &&
		p.sizeConstant(g.expected) && p.sizeConstant(g.length) &&
		(g.child < 0 || p.scopes[g.child].constant)
	p.groups = append(p.groups, *g)
	if g.constant {
		p.groups[id].value = p.price(id, nil, nil)
	}
	return id
}

func (p *Program) sizeConstant(i int32) bool { return i < 0 || p.sizes[i].constant }

// settled returns the price of a member that no variable decides.
func (p *Program) settled(m member) (priced, bool) {
	if m.group < 0 {
		s := &p.scopes[^m.group]
		return s.value, s.constant
	}
	return p.groups[m.group].value, p.groups[m.group].constant
}

// addScope places drafts whose members are on the stack.
func (p *Program) addScope(drafts []draft, stack []member) int32 {
	id := int32(len(p.scopes))
	s := scope{regions: span{lo: int32(len(p.regions))}, constant: true}
	for _, d := range drafts {
		r := region{members: span{lo: int32(len(p.members))}, types: d.types, typename: d.typename}
		for _, m := range stack[d.members.lo:d.members.hi] {
			if _, ok := p.settled(m); !ok || m.guard != alwaysLive {
				p.members = append(p.members, m)
				s.constant = false
			}
		}
		r.fixed = int32(len(p.members))
		for _, m := range stack[d.members.lo:d.members.hi] {
			if v, ok := p.settled(m); ok && m.guard == alwaysLive {
				p.members = append(p.members, m)
				r.base.add(v)
			}
		}
		r.members.hi = int32(len(p.members))
		p.regions = append(p.regions, r)
	}
	s.regions.hi = int32(len(p.regions))
	p.scopes = append(p.scopes, s)
	if s.constant {
		p.scopes[id].value = p.maximum(&p.scopes[id], nil, nil)
	} else {
		p.dynamicScopes = append(p.dynamicScopes, id)
	}
	return id
}

func (v *priced) add(o priced) {
	v.a += o.a
	v.b += o.b
	if v.bad == 0 {
		v.bad = o.bad
	}
}

// maximum is the componentwise maximum over the scope's regions.
func (p *Program) maximum(s *scope, vars *schema.Variables, x *scratch) priced {
	var out priced
	for i := s.regions.lo; i < s.regions.hi; i++ {
		v := p.sum(&p.regions[i], vars, x)
		out.a, out.b = max(out.a, v.a), max(out.b, v.b)
		if out.bad == 0 {
			out.bad = v.bad
		}
	}
	return out
}

func (p *Program) sum(r *region, vars *schema.Variables, x *scratch) priced {
	v := r.base
	for _, m := range p.members[r.members.lo:r.fixed] {
		if x != nil && !x.guards[m.guard] {
			continue
		}
		v.add(p.memberPrice(m, vars, x))
	}
	return v
}

func (p *Program) memberPrice(m member, vars *schema.Variables, x *scratch) priced {
	if m.group < 0 {
		return p.scopePrice(^m.group, x)
	}
	if g := &p.groups[m.group]; g.constant {
		return g.value
	}
	return p.price(m.group, vars, x)
}

func (p *Program) scopePrice(i int32, x *scratch) priced {
	if s := &p.scopes[i]; s.constant {
		return s.value
	}
	return x.scopes[i]
}

// price evaluates a group whose child has been evaluated.
func (p *Program) price(i int32, vars *schema.Variables, x *scratch) priced {
	g := &p.groups[i]
	var out, child priced
	if g.child >= 0 {
		child = p.scopePrice(g.child, x)
	}
	n, own, bad := p.multiplier(g, child.pair, x)
	out.a = max(0, p.call(g, vars, x)+members(n, g.spec.itemA+child.a))
	out.b = max(0, own+members(n, g.spec.itemB+child.b))
	if out.bad = child.bad; bad {
		out.bad = i + 1
	}
	return out
}

// multiplier returns how often the group's items are paid, what its own size
// adds to component b, and whether a size is refused. A list whose members cost
// nothing is not refused for having no bound.
func (p *Program) multiplier(g *group, child pair, x *scratch) (n, own float64, bad bool) {
	n = 1
	if g.expected >= 0 {
		e := p.size(g.expected, x)
		bad = e.bad
		if g.spec.countNodes {
			own = max(0, e.value)
		}
	}
	if g.length >= 0 {
		l := p.size(g.length, x)
		n = l.value
		bad = bad || l.bad && (g.spec.itemA+child.a > 0 || g.spec.itemB+child.b > 0)
		if g.spec.page && p.model.algebra.logSize {
			n = logarithmic(n)
		}
		n = times(n, g.spec.scale)
		if p.model.algebra.github && g.spec.page && !l.handed {
			own += n // the connection did not count them
		}
	}
	return n, own, bad
}

// call is what is paid once for each parent. IBM's is never negative; an
// approximate program's is not either, since it may pay a call twice.
func (p *Program) call(g *group, vars *schema.Variables, x *scratch) float64 {
	call := g.call + p.termsCost(g.terms, vars) + p.extrasCost(g.extras, vars, x)
	if p.model.algebra.ibm || p.approximate {
		return max(0, call)
	}
	return call
}

// extrasCost is the dearest of the occurrences that are live.
func (p *Program) extrasCost(s span, vars *schema.Variables, x *scratch) float64 {
	if s.lo == s.hi {
		return 0
	}
	dearest := math.Inf(-1)
	for i := s.lo; i < s.hi; i++ {
		if e := &p.extras[i]; x.guards[e.guard] {
			dearest = max(dearest, e.base+p.termsCost(e.terms, vars))
		}
	}
	if math.IsInf(dearest, -1) {
		return 0
	}
	return dearest
}

func (p *Program) termsCost(s span, vars *schema.Variables) float64 {
	sum := 0.0
	for i := s.lo; i < s.hi; i++ {
		sum += p.model.termCost(&p.terms[i], vars)
	}
	return sum
}

// times multiplies with 0 x infinity = 0: nothing, however often, is nothing.
func times(n, v float64) float64 {
	if n == 0 || v == 0 {
		return 0
	}
	return n * v
}

// members is the price of at most n members: none of them may come.
func members(n, v float64) float64 { return max(0, times(n, v)) }

// scratch holds the intermediate values of one evaluation.
type scratch struct {
	guards []bool
	sizes  []size
	scopes []priced
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/2)
	}
	return s[:n]
}

// scratch returns a scratch of the program's size; it must be given back.
func (p *Program) scratch() *scratch {
	x := scratches.Get().(*scratch)
	x.guards = resize(x.guards, len(p.guards))
	x.sizes = resize(x.sizes, len(p.sizes))
	x.scopes = resize(x.scopes, len(p.scopes))
	return x
}

// evaluate fills a scratch for the variables; it must be given back.
func (p *Program) evaluate(vars *schema.Variables) *scratch {
	x := p.scratch()
	p.evalGuards(vars, x.guards)
	p.run(vars, x)
	return x
}

// run evaluates sizes and scopes once the guards are decided.
func (p *Program) run(vars *schema.Variables, x *scratch) {
	p.evalSizes(vars, x)
	for _, i := range p.dynamicScopes {
		x.scopes[i] = p.maximum(&p.scopes[i], vars, x)
	}
}

func (x *scratch) release() { scratches.Put(x) }

// finish completes a program whose root scope is id.
func (p *Program) finish(id int32, root *outputType, op *schema.Operation) {
	p.root, p.rootName = id, root.name
	switch alg := p.model.algebra; {
	case alg.ibm:
		p.base.b = root.weight
	case alg.apollo && op.Kind == ast.Mutation:
		p.base.a = 10
	}
	if s := &p.scopes[id]; s.constant && s.value.bad == 0 {
		p.constant = true
		p.fixed = p.estimate(s.value.pair)
	}
}

// Estimate prices the operation for the variables; nil stands for no variables.
// It does not allocate unless it fails. Errors are *PageSizeError,
// *SlicingError, *NegativeSizeError and *UnboundedError, with the first field
// in question, and *NodeLimitError, beside which the Estimate is complete.
func (p *Program) Estimate(vars *schema.Variables) (Estimate, error) {
	e := p.fixed
	if !p.constant {
		x := p.evaluate(vars)
		v := p.scopePrice(p.root, x)
		x.release()
		if v.bad != 0 {
			return Estimate{}, p.refusal(v.bad, vars)
		}
		e = p.estimate(v.pair)
	}
	if p.model.algebra.github && e.Nodes > GitHubMaxNodes {
		return e, &NodeLimitError{Nodes: e.Nodes, Max: GitHubMaxNodes}
	}
	return e, nil
}

// refusal explains why the group cannot be priced.
func (p *Program) refusal(bad int32, vars *schema.Variables) error {
	g := &p.groups[bad-1]
	x := p.evaluate(vars)
	defer x.release()
	if g.expected >= 0 && p.size(g.expected, x).bad {
		return p.model.sizeError(g.coordinate(), &p.sizes[g.expected], vars)
	}
	return &UnboundedError{Coordinate: g.coordinate()}
}

// estimate turns the price of the root scope into the profile's numbers.
func (p *Program) estimate(v pair) Estimate {
	a, b := v.a+p.base.a, v.b+p.base.b
	return p.model.estimate(a, b, p.approximate)
}

func (m *Model) estimate(a, b float64, approximate bool) Estimate {
	e := Estimate{Approximate: approximate}
	switch {
	case m.algebra.ibm:
		e.Field, e.Type = e.cut(a), e.cut(b)
		e.Total = e.cut(e.Field + e.Type)
	case m.algebra.github:
		e.Nodes = e.cut(b)
		e.Points = e.cut(max(1, math.Round(a/100)))
		e.Total = e.Points
	default:
		e.Score = e.cut(a)
		e.Total = e.Score
	}
	return e
}

// cut bounds a number to what is reported and takes off what adding decimal
// weights in binary left behind.
func (e *Estimate) cut(v float64) float64 {
	switch {
	case v > Saturation:
		e.Saturated = true
		return Saturation
	case !(v > 0):
		return 0
	case v == math.Trunc(v) || v > 1e6:
		return v
	}
	return math.Round(v*1e9) / 1e9
}
