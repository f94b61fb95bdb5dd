package cost

import (
	"math"

	"github.com/graphward/graphward/schema"
)

// worstVariables stands for every variables at once, in evaluation.
var worstVariables = new(schema.Variables)

// Bounds of the worst case: lists in variables have at most this many items
// and nest at most this deep, as schema.DefaultLimits has it.
var (
	worstItems = float64(schema.DefaultLimits.ListItems)
	worstDepth = schema.DefaultLimits.ValueDepth
)

// maxAssignments bounds the conditions that WorstCase tries out one by one.
const maxAssignments = 256

// WorstCase bounds Estimate for all variables that the schema and the default
// limits of variables admit and that are not refused: what a registered
// operation can cost at most. A page size that a variable gives counts as
// Options.PageSize.Max; without that maximum it is infinite and the result
// saturated. Up to eight condition variables are tried in every combination;
// with more all conditions count as true. Errors are Estimate's, where whatever
// the variables the operation is refused.
func (p *Program) WorstCase() (Estimate, error) {
	variables := p.conditionVariables()
	combinations := 1 << min(len(variables), 30)
	tried := combinations <= maxAssignments
	if !tried {
		combinations, variables = 1, nil
	}
	var worst, refused priced
	priceable := !tried
	for assignment := range combinations {
		values := map[int32]bool{}
		for i, v := range variables {
			values[v] = assignment>>i&1 == 1
		}
		v := p.worst(values)
		if tried && v.bad != 0 {
			refused = v
			continue
		}
		priceable = true
		worst.a, worst.b = max(worst.a, v.a), max(worst.b, v.b)
	}
	if !priceable {
		return Estimate{}, p.refusal(refused.bad, nil)
	}
	e := p.estimate(worst.pair)
	if p.model.algebra.github && e.Nodes > GitHubMaxNodes {
		return e, &NodeLimitError{Nodes: e.Nodes, Max: GitHubMaxNodes}
	}
	return e, nil
}

// conditionVariables lists the variables that guards read.
func (p *Program) conditionVariables() []int32 {
	var out []int32
	seen := map[int32]bool{}
	for _, g := range p.guards {
		if g.kind == guardVariable && !seen[g.x] {
			seen[g.x] = true
			out = append(out, g.x)
		}
	}
	return out
}

// worst evaluates the program for the conditions; those not in values hold.
func (p *Program) worst(values map[int32]bool) priced {
	x := p.scratch()
	defer x.release()
	for i, op := range p.guards {
		switch op.kind {
		case guardVariable:
			v, known := values[op.x]
			x.guards[i] = !known || v == (op.y == 1)
		case guardAnd:
			x.guards[i] = x.guards[op.x] && x.guards[op.y]
		case guardOr:
			x.guards[i] = x.guards[op.x] || x.guards[op.y]
		default:
			x.guards[i] = true
		}
	}
	p.run(worstVariables, x)
	return p.scopePrice(p.root, x)
}

// worstSize is the largest that a size can be.
func (p *Program) worstSize(op *sizeOp, x *scratch) size {
	if op.spec == nil {
		return p.worstChoice(op, x)
	}
	out := size{value: op.spec.size.assumed}
	mayLack := true
	for i := range op.terms {
		t := &op.terms[i]
		if t.constant.state == sliceNumber {
			out.value = max(out.value, t.constant.value)
			mayLack = mayLack && t.variable >= 0
		}
		if t.variable < 0 {
			continue
		}
		mayLack = mayLack && !t.required
		most := math.Inf(1)
		if t.slicing.countsItems() {
			most = worstItems
		} else if m := p.model.algebra.pageSize.Max; m != nil {
			most = float64(*m)
		}
		out.value = max(out.value, most)
	}
	out.lacks = mayLack && op.spec.size.assumed == none && !p.model.algebra.pageSize.Required
	return out
}

func (p *Program) worstChoice(op *sizeOp, x *scratch) size {
	out := size{value: none, lacks: true}
	for _, i := range op.inherited {
		s := p.size(i, x)
		out.value = max(out.value, s.value)
		out.lacks = out.lacks && (s.lacks || s.value == none)
	}
	out.handed = !out.lacks
	if out.lacks && op.own >= 0 {
		s := p.size(op.own, x)
		out.value = max(out.value, s.value)
		out.lacks = s.lacks || s.value == none
	}
	if out.lacks && !op.refuse || out.value == none {
		out.value = max(out.value, op.fallback)
		out.bad = op.refuse
	}
	out.lacks = false
	return out
}

// worstTerm is the most that an input can cost whatever its variable holds.
func (m *Model) worstTerm(t *inputTerm) float64 {
	if m.algebra.apollo {
		return max(t.absent, m.worstRouter(t.spec, worstDepth, t.element))
	}
	w := m.worstContents(t.spec, worstDepth)
	if !t.element {
		w += t.spec.own
	}
	return max(t.absent, w)
}

// worstContents bounds contentCost.
func (m *Model) worstContents(s *inputSpec, depth int) float64 {
	if s.typ == nil || s.typ.free || depth == 0 {
		return 0
	}
	sum := 0.0
	for _, f := range s.typ.ordered {
		sum += max(0, f.own+m.worstContents(f, depth-1))
	}
	if s.list {
		return times(worstItems, sum)
	}
	return sum
}

// worstRouter bounds routerCost.
func (m *Model) worstRouter(s *inputSpec, depth int, element bool) float64 {
	one := 0.0
	if s.explicit {
		one = s.own
	}
	if s.typ != nil && depth > 0 {
		one = s.own
		for _, f := range s.typ.ordered {
			one += max(0, m.worstRouter(f, depth-1, false))
		}
	}
	if !s.list || element {
		return max(0, one)
	}
	own := 0.0
	if s.explicit {
		own = s.own
	}
	return max(0, own+times(worstItems, max(0, one)))
}
