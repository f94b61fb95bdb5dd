package cost

import (
	"bytes"
	"io"
	"slices"
	"sync"

	"github.com/graphward/graphward/schema"
)

// maxNesting bounds lists within lists in a response.
const maxNesting = 64

// maxRereads bounds, in multiples of the response, what is read again to find
// out of which object type a value is.
const maxRereads = 8

// keptBuffer is the largest read buffer that is kept for the next response.
const keptBuffer = 1 << 20

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// Actual prices a response body {"data": ...} by the same walk as Estimate:
// fields are paid where they occur, types where a value is not null (draft,
// section 5.1.3). The object type of a value is read from __typename where it
// is selected; otherwise the dearest type that fits the keys counts. Nothing
// but the bytes is held in memory: the caller bounds the body. Errors are those
// of the reader, *ResponseError and *ApproximateError: settle at the estimate.
func (p *Program) Actual(body io.Reader, vars *schema.Variables) (Estimate, error) {
	buffer := buffers.Get().(*bytes.Buffer)
	buffer.Reset()
	defer func() {
		if buffer.Cap() <= keptBuffer {
			buffers.Put(buffer)
		}
	}()
	if _, err := buffer.ReadFrom(body); err != nil {
		return Estimate{}, err
	}
	return p.ActualBytes(buffer.Bytes(), vars)
}

// ActualBytes is Actual for a body that is in memory already; it does not keep
// or change it.
func (p *Program) ActualBytes(body []byte, vars *schema.Variables) (Estimate, error) {
	if p.approximate {
		return Estimate{}, &ApproximateError{Operation: p.operation}
	}
	x := p.evaluate(vars)
	defer x.release()
	m := meter{scanner: scanner{data: body}, p: p, vars: vars, x: x, shape: p.responseShape()}
	v := m.body()
	if m.err != nil {
		return Estimate{}, m.err
	}
	return p.model.estimate(v.a, v.b, false), nil
}

// shape indexes the groups of each region by response key.
type shape struct {
	regions []shapeRegion
	// typenames holds, for each scope, the response keys of __typename.
	typenames [][]string
}

// fewKeys is how many response keys are searched one by one.
const fewKeys = 12

type shapeRegion struct {
	groups []int32 // in the order of the document
	byKey  map[string]int32
}

func (p *Program) responseShape() *shape {
	p.shapeOnce.Do(func() {
		s := &shape{regions: make([]shapeRegion, len(p.regions)), typenames: make([][]string, len(p.scopes))}
		for i := range p.regions {
			r := &s.regions[i]
			for _, m := range p.members[p.regions[i].members.lo:p.regions[i].members.hi] {
				r.groups = append(r.groups, m.group)
			}
			slices.Sort(r.groups)
			if len(r.groups) > fewKeys {
				r.byKey = make(map[string]int32, len(r.groups))
				for _, g := range r.groups {
					r.byKey[p.groups[g].key()] = g
				}
			}
		}
		for i := range p.scopes {
			for r := p.scopes[i].regions.lo; r < p.scopes[i].regions.hi; r++ {
				if name := p.regions[r].typename; name != "" && !slices.Contains(s.typenames[i], name) {
					s.typenames[i] = append(s.typenames[i], name)
				}
			}
		}
		p.shape = s
	})
	return p.shape
}

// meter walks one response.
type meter struct {
	scanner
	p     *Program
	vars  *schema.Variables
	x     *scratch
	shape *shape
	// reread counts bytes that were read more than once.
	reread int
}

// body reads the envelope.
func (m *meter) body() pair {
	var v pair
	if m.peek() != '{' {
		m.fail("the response is not a JSON object")
		return v
	}
	seen := false
	for more := m.open('}'); more; more = m.next('}') {
		if name := m.key(); string(name) != "data" {
			m.skip()
			continue
		}
		if seen {
			m.fail("data occurs twice")
		}
		seen = true
		if m.peek() != '{' {
			m.skip()
			continue
		}
		v, _ = m.object(m.p.root, false)
		v.a += m.p.base.a
		v.b += m.p.base.b
	}
	if m.peek() != 0 {
		m.fail("something follows the response")
	}
	return v
}

// object prices the object at pos as a value of the scope and returns its
// object type, -1 when it is not known. mixed says that the type makes a
// difference to the price of the object itself.
func (m *meter) object(i int32, mixed bool) (pair, int) {
	s := &m.p.scopes[i]
	count := s.regions.hi - s.regions.lo
	switch {
	case count == 0:
		m.skip()
		return pair{}, -1
	case count == 1 && (!mixed || len(m.shape.typenames[i]) == 0):
		return m.region(s.regions.lo), -1
	}
	begin := m.pos
	if object := m.objectType(i); object >= 0 {
		m.pos = begin
		for r := s.regions.lo; r < s.regions.hi; r++ {
			if m.p.regions[r].types.Has(object) {
				return m.region(r), object
			}
		}
	}
	m.pos = begin
	return m.dearest(i), -1
}

// objectType looks for __typename among the keys of the object at pos.
func (m *meter) objectType(i int32) int {
	names := m.shape.typenames[i]
	if len(names) == 0 || m.spent() {
		return -1
	}
	begin := m.pos
	object := -1
	for more := m.open('}'); more && object < 0; more = object < 0 && m.next('}') {
		key := m.key()
		if slices.Contains(names, string(key)) && m.peek() == '"' {
			object = m.p.model.schema.ObjectIndex(string(m.string()))
		} else {
			m.skip()
		}
	}
	m.reread += m.pos - begin
	return object
}

// dearest prices the object under every region that its keys admit.
func (m *meter) dearest(i int32) pair {
	if m.spent() {
		return m.region(m.dearestRegion(i))
	}
	begin := m.pos
	candidates := m.candidates(i)
	end := m.pos
	if m.err != nil {
		return pair{}
	}
	var out pair
	for _, r := range candidates {
		m.pos = begin
		v := m.region(r)
		out.a, out.b = max(out.a, v.a), max(out.b, v.b)
		m.reread += end - begin
	}
	m.pos = end
	return out
}

// spent reports whether too much was read again already.
func (m *meter) spent() bool { return m.reread > maxRereads*len(m.data) }

// candidates returns the regions that select every key of the object at pos; all
// when none does.
func (m *meter) candidates(i int32) []int32 {
	s := &m.p.scopes[i]
	begin := m.pos
	out := make([]int32, 0, s.regions.hi-s.regions.lo)
	for r := s.regions.lo; r < s.regions.hi; r++ {
		out = append(out, r)
	}
	names := m.shape.typenames[i]
	for more := m.open('}'); more; more = m.next('}') {
		key := m.key()
		if !slices.Contains(names, string(key)) {
			fits := slices.DeleteFunc(slices.Clone(out), func(r int32) bool { return m.find(r, key, 0) < 0 })
			if len(fits) > 0 {
				out = fits
			}
		}
		m.skip()
	}
	m.reread += m.pos - begin
	return out
}

// dearestRegion is the region with the highest estimate.
func (m *meter) dearestRegion(i int32) int32 {
	s := &m.p.scopes[i]
	best, most := s.regions.lo, -1.0
	for r := s.regions.lo; r < s.regions.hi; r++ {
		if v := m.p.sum(&m.p.regions[r], m.vars, m.x); v.a+v.b > most {
			best, most = r, v.a+v.b
		}
	}
	return best
}

// find returns the position among the region's groups of the response key, -1
// when it is not selected. Responses keep the order of the document mostly, so
// the search begins at hint.
func (m *meter) find(r int32, key []byte, hint int) int {
	s := &m.shape.regions[r]
	if hint < len(s.groups) && m.p.groups[s.groups[hint]].key() == string(key) {
		return hint
	}
	if s.byKey != nil {
		g, ok := s.byKey[string(key)]
		if !ok {
			return -1
		}
		i, _ := slices.BinarySearch(s.groups, g)
		return i
	}
	for i, g := range s.groups {
		if m.p.groups[g].key() == string(key) {
			return i
		}
	}
	return -1
}

// region prices the object at pos.
func (m *meter) region(r int32) pair {
	var out pair
	pages := 0
	hint := 0
	for more := m.open('}'); more; more = m.next('}') {
		i := m.find(r, m.key(), hint)
		if i < 0 {
			m.skip()
			continue
		}
		hint = i + 1
		g := &m.p.groups[m.shape.regions[r].groups[i]]
		v, items := m.field(g)
		out.a += v.a
		out.b += v.b
		if g.spec.page {
			pages = max(pages, items)
		}
	}
	if m.p.model.algebra.github {
		out.b += float64(pages)
	}
	return out
}

// field prices the value at pos as the group's and returns how many members it
// has.
func (m *meter) field(g *group) (pair, int) {
	alg := &m.p.model.algebra
	out := pair{a: m.p.call(g, m.vars, m.x)}
	if g.child < 0 && g.spec.itemA == 0 && g.spec.itemB == 0 {
		m.skip()
		return out, 0
	}
	v, items := m.value(g, 0)
	if alg.logSize && g.spec.page && items > 0 {
		v.a *= logarithmic(float64(items)) / float64(items)
	}
	out.a += v.a
	out.b += v.b
	return out, items
}

// value prices the value at pos without the call, and counts its members.
func (m *meter) value(g *group, depth int) (pair, int) {
	switch m.peek() {
	case '[':
		if depth == maxNesting {
			m.fail("lists are nested too deeply")
			return pair{}, 0
		}
		var out pair
		items := 0
		for more := m.open(']'); more; more = m.next(']') {
			v, n := m.value(g, depth+1)
			items += n
			if m.p.model.algebra.simple { // a list counts once: by its dearest member
				out.a = max(out.a, v.a)
				continue
			}
			out.a += v.a
			out.b += v.b
		}
		return out, items
	case 'n':
		m.skip()
		return pair{a: m.p.nullCost(g, depth)}, 0
	case '{':
		if g.child < 0 {
			break
		}
		v, object := m.object(g.child, g.spec.byType && g.spec.returns.mixed)
		item := m.p.itemCost(g.spec, object)
		return pair{item.a + v.a, item.b + v.b}, 1
	}
	m.skip()
	return pair{g.spec.itemA, g.spec.itemB}, 1
}

// nullCost is what a null costs beside the call: for Apollo Router the weight
// that the field itself was given, for Shopify the object that was looked for.
func (p *Program) nullCost(g *group, depth int) float64 {
	switch {
	case p.model.algebra.apollo:
		return g.spec.explicit
	case p.model.algebra.shopify && depth == 0 && !g.spec.list:
		return g.spec.itemA
	}
	return 0
}

// itemCost is the price of one member whose object type is known, or not (-1).
func (p *Program) itemCost(spec *fieldSpec, object int) pair {
	item := pair{spec.itemA, spec.itemB}
	if object < 0 || !spec.byType || !spec.returns.mixed {
		return item
	}
	w := p.model.outputs[p.model.schema.Objects()[object].Name].weight
	if p.model.algebra.ibm {
		item.b = w
	} else {
		item.a = w
	}
	return item
}
