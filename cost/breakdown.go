package cost

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/graphward/graphward/schema"
)

// FieldCost is one field's own part of a total: count x weights, without what
// is selected below it.
type FieldCost struct {
	// Path holds the response keys from the root; it is empty for the entry of
	// the operation itself (its root type, or the flat charge for a mutation).
	Path       Path   `json:"path"`
	Coordinate string `json:"coordinate"`
	// Count is how often the field is resolved at most.
	Count float64 `json:"count"`
	// Cost can be negative only where a type has a negative weight.
	Cost float64 `json:"cost"`
}

// Path holds response keys from the root. Its text, also in JSON, joins them by dots.
type Path []string

// MarshalText returns the keys joined by dots.
func (p Path) MarshalText() ([]byte, error) { return []byte(strings.Join(p, ".")), nil }

// UnmarshalText is the reverse of MarshalText.
func (p *Path) UnmarshalText(text []byte) error {
	*p = Path{}
	if len(text) > 0 {
		*p = strings.Split(string(text), ".")
	}
	return nil
}

// maxEntries bounds a breakdown; past it an entry's cost includes everything
// below it.
const maxEntries = 4000

// Breakdown says where Estimate's Total comes from, in the order of the
// document; the costs of all entries sum to Total. Where object types exclude
// each other the entries of the dearest are listed. It is nil when Estimate
// has no price for the variables.
func (p *Program) Breakdown(vars *schema.Variables) []FieldCost {
	x := p.evaluate(vars)
	defer x.release()
	root := p.scopePrice(p.root, x)
	if root.bad != 0 {
		return nil
	}
	w := &breakdown{p: p, vars: vars, x: x, at: map[string]int{}}
	w.want = pair{1, 1}
	if p.model.algebra.github {
		w.want.b = 0 // nodes are limited, not charged
	}
	own := w.want.a*max(p.base.a, -root.a) + w.want.b*max(p.base.b, -root.b)
	if own != 0 {
		w.entries = append(w.entries, FieldCost{Path: Path{}, Coordinate: p.rootName, Count: 1, Cost: own})
	}
	w.scope(p.root, 1, w.want)
	total := p.estimate(root.pair).Total
	if p.model.algebra.github {
		w.scale(root.a, total, p.rootName)
	}
	settleSum(w.entries, total)
	return w.entries
}

type breakdown struct {
	p       *Program
	vars    *schema.Variables
	x       *scratch
	want    pair // 1 for the components that Total adds up
	path    []string
	entries []FieldCost
	at      map[string]int // by path and coordinate
	visits  int
}

// scope lists the winning region of each component, for a value that occurs
// count times. want selects the components.
func (w *breakdown) scope(i int32, count float64, want pair) {
	s := &w.p.scopes[i]
	bestA, bestB := int32(-1), int32(-1)
	var a, b float64
	for r := s.regions.lo; r < s.regions.hi; r++ {
		v := w.p.sum(&w.p.regions[r], w.vars, w.x)
		// a region that wins one component wins the other when it ties there
		if bestA < 0 || v.a > a || v.a == a && v.b > b {
			bestA, a = r, v.a
			if v.b >= b {
				bestB, b = r, v.b
			}
		}
		if bestB < 0 || v.b > b {
			bestB, b = r, v.b
		}
	}
	if bestA < 0 {
		return
	}
	if bestA == bestB || want.b == 0 {
		w.region(bestA, count, want)
		return
	}
	w.region(bestA, count, pair{a: want.a})
	w.region(bestB, count, pair{b: want.b})
}

func (w *breakdown) region(i int32, count float64, want pair) {
	r := &w.p.regions[i]
	members := slices.Clone(w.p.members[r.members.lo:r.members.hi])
	slices.SortFunc(members, func(a, b member) int { return int(a.group - b.group) })
	for _, m := range members {
		if !w.x.guards[m.guard] {
			continue
		}
		w.visits++
		if m.group >= 0 {
			w.group(m.group, count, want)
			continue
		}
		if w.visits > maxEntries {
			v := w.p.scopePrice(^m.group, w.x)
			w.add("...", count, times(count, v.a*want.a)+times(count, v.b*want.b))
			continue
		}
		w.scope(^m.group, count, want)
	}
}

func (w *breakdown) group(i int32, count float64, want pair) {
	g := &w.p.groups[i]
	var child pair
	if g.child >= 0 {
		child = w.p.scopePrice(g.child, w.x).pair
	}
	n, nodes, _ := w.p.multiplier(g, child, w.x)
	call := w.p.call(g, w.vars, w.x)
	own := pair{ownPart(call, n, g.spec.itemA, child.a), ownPart(nodes, n, g.spec.itemB, child.b)}
	w.path = append(w.path, g.key())
	defer func() { w.path = w.path[:len(w.path)-1] }()
	if len(w.entries) >= maxEntries || w.visits > maxEntries {
		own.a += times(n, child.a)
		own.b += times(n, child.b)
		w.add(g.coordinate(), count, times(count, own.a*want.a)+times(count, own.b*want.b))
		return
	}
	w.add(g.coordinate(), count, times(count, own.a*want.a)+times(count, own.b*want.b))
	if g.child >= 0 {
		w.scope(g.child, times(count, n), want)
	}
}

// ownPart is what a group adds to n times its child: its members and the whole
// are cut at zero.
func ownPart(call, n, item, child float64) float64 {
	below := times(n, child)
	return max(call+max(times(n, item), -below), -below)
}

func (w *breakdown) add(coordinate string, count, cost float64) {
	key := strings.Join(w.path, ".") + " " + coordinate
	if i, ok := w.at[key]; ok {
		e := &w.entries[i]
		e.Cost += cost
		if w.p.approximate {
			e.Count += count
		} else {
			e.Count = max(e.Count, count)
		}
		return
	}
	w.at[key] = len(w.entries)
	path := w.path
	if coordinate == "..." {
		path = append(slices.Clone(path), coordinate)
	}
	w.entries = append(w.entries, FieldCost{Path: slices.Clone(path), Coordinate: coordinate, Count: count, Cost: cost})
}

// scale turns requests into points.
func (w *breakdown) scale(requests, points float64, root string) {
	if requests == 0 {
		w.entries = append([]FieldCost{{Path: Path{}, Coordinate: root, Count: 1, Cost: points}}, w.entries...)
		return
	}
	for i := range w.entries {
		w.entries[i].Cost *= points / requests
	}
}

// settleSum makes the entries sum to total: it cuts what passed saturation,
// from the first entry on, and gives the rounding of sums to the dearest.
func settleSum(entries []FieldCost, total float64) {
	sum, dearest := 0.0, -1
	for i := range entries {
		e := &entries[i]
		e.Count = min(e.Count, Saturation)
		if math.IsNaN(e.Cost) || math.IsInf(e.Cost, 0) || total >= Saturation {
			e.Cost = max(0, min(e.Cost, total-sum))
			if math.IsNaN(e.Cost) {
				e.Cost = 0
			}
		}
		sum += e.Cost
		if dearest < 0 || e.Cost > entries[dearest].Cost {
			dearest = i
		}
	}
	if dearest >= 0 && sum != total {
		entries[dearest].Cost += total - sum
	}
}

// Report is the cost object that explain prints: it holds what the profile has.
type Report struct {
	Total       *float64    `json:"total,omitempty"`
	Field       *float64    `json:"field,omitempty"`
	Type        *float64    `json:"type,omitempty"`
	Nodes       *float64    `json:"nodes,omitempty"`
	Points      *float64    `json:"points,omitempty"`
	Score       *float64    `json:"score,omitempty"`
	Saturated   bool        `json:"saturated"`
	Approximate bool        `json:"approximate"`
	Max         *float64    `json:"max,omitempty"`
	ByField     []FieldCost `json:"by_field,omitzero"` // empty, not absent, when nothing is priced
	// Actual is the price of a response, when there is one.
	Actual *Report `json:"actual,omitempty"`
}

// Report returns e as the report of the model's profile, without breakdown.
func (m *Model) Report(e Estimate) Report {
	r := Report{Total: &e.Total, Saturated: e.Saturated, Approximate: e.Approximate}
	switch {
	case m.algebra.ibm:
		r.Field, r.Type = &e.Field, &e.Type
	case m.algebra.github:
		r.Nodes, r.Points = &e.Nodes, &e.Points
	default:
		r.Score = &e.Score
	}
	return r
}

// Report prices the operation for explain: the numbers with their breakdown.
// max, nil when there is no limit, is printed beside them. Errors are those of
// Estimate; the report is complete beside *NodeLimitError and empty beside others.
func (p *Program) Report(vars *schema.Variables, max *float64) (Report, error) {
	e, err := p.Estimate(vars)
	if err != nil && e == (Estimate{}) {
		return Report{Max: max}, err
	}
	r := p.model.Report(e)
	r.Max = max
	if r.ByField = p.Breakdown(vars); r.ByField == nil {
		r.ByField = []FieldCost{}
	}
	return r, err
}

// PrintTree writes a breakdown for people: a line for each field, indented by
// depth, with its count, its own cost and its share of total.
func PrintTree(w io.Writer, fields []FieldCost, total float64) error {
	var b strings.Builder
	for _, f := range fields {
		key, indent := "(operation)", 0
		if n := len(f.Path); n > 0 {
			key, indent = f.Path[n-1], n-1
		}
		share := 0.0
		if total > 0 {
			share = 100 * f.Cost / total
		}
		fmt.Fprintf(&b, "%12.6g %5.1f%%  %s%s  %.6g x %s\n", f.Cost, share, strings.Repeat("  ", indent), key, f.Count, f.Coordinate)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
