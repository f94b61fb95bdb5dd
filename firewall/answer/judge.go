package answer

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/vektah/gqlparser/v2/ast"
)

// A list of objects that rules decide is gathered in windows, each of which is
// judged at once: at most so many items, or about so many bytes.
const (
	WindowItems = 512
	WindowBytes = 256 << 10
)

// errUnknown: what a null means depends on the upstream's errors, which come
// behind the data.
var errUnknown = errors.New("answer: the upstream's errors are not yet known")

// judging is what was gathered to be judged, and the verdicts.
type judging struct {
	batches   []batch
	batchOf   []int32 // by guard; -1: it has no rule
	entries   []entry // in the order of the answer
	ordinals  []int32
	cursor    int
	windowEnd int64
	allowed   []bool // of the objects that are open, for each of their judges
	found     []span
	lost      bool    // the upstream failed to give something that the rule at hand reads
	nested    []named // members of the objects being projected
}

// batch is the parents that one rule decides.
type batch struct {
	rule     Rule
	text     []byte
	ends     []int
	parents  [][]byte
	verdicts []bool
}

// entry is an object that was gathered: ordinals[first:] has one number for each
// of its judges, in their batches.
type entry struct {
	offset int64
	first  int32
}

type span struct{ start, end int }

type named struct {
	key []byte
	at  span
}

// batch makes one batch for each distinct rule.
func (w *walker) batch() {
	w.batchOf = make([]int32, len(w.opts.Guards))
	byRule := map[Rule]int32{}
	for i := range w.opts.Guards {
		w.batchOf[i] = -1
		rule := w.opts.Guards[i].Rule
		if rule == nil {
			continue
		}
		n, ok := byRule[rule]
		if !ok {
			n = int32(len(w.batches))
			byRule[rule] = n
			w.batches = append(w.batches, batch{rule: rule})
		}
		w.batchOf[i] = n
	}
}

func (w *walker) clearBatches() {
	w.entries, w.ordinals, w.cursor = w.entries[:0], w.ordinals[:0], 0
	for i := range w.batches {
		b := &w.batches[i]
		b.text, b.ends, b.verdicts = b.text[:0], b.ends[:0], nil
	}
}

// typeOf returns the object type of the object at hand.
func (w *walker) typeOf(p *place) (int, error) {
	for {
		typ, err := w.typeAt(w.in.data, w.in.pos, p.typ)
		if err != errShort {
			return typ, err
		}
		if err := w.in.more(); err != nil {
			return 0, err
		}
	}
}

// typeAt reads typeKey of the object at b[i]. A type that a value of the named
// type cannot have is an error: no rule says what may be seen of it.
func (w *walker) typeAt(b []byte, i int, named *ast.Definition) (int, error) {
	typ := -1
	err := members(b, i, func(key []byte, start, end int) (bool, error) {
		if string(key) != typeKey {
			return true, nil
		}
		if b[start] != '"' {
			return false, &FormatError{"a __typename is no string"}
		}
		name, err := unquote(b[start:end])
		if err != nil {
			return false, err
		}
		typ = w.plan.op.Schema.ObjectIndex(string(name))
		if typ < 0 || !w.plan.op.Schema.Possible(named.Name).Has(typ) {
			return false, &FormatError{fmt.Sprintf("%.100q is no type of %s", name, named.Name)}
		}
		return false, nil
	})
	if err == nil && typ < 0 {
		err = &FormatError{"the type of an object of " + named.Name + " is missing"}
	}
	return typ, err
}

// decide appends to allowed one verdict for each judge of the object at hand.
func (w *walker) decide(o *object) error {
	at := w.in.offset()
	if at >= w.windowEnd {
		if err := w.gather(func() error {
			w.clearBatches()
			return w.collectOwn(w.in.data, w.in.pos, o)
		}); err != nil {
			return err
		}
		if err := w.judge(); err != nil {
			return err
		}
	}
	for w.cursor < len(w.entries) && w.entries[w.cursor].offset < at {
		w.cursor++
	}
	if w.cursor == len(w.entries) || w.entries[w.cursor].offset != at {
		return fmt.Errorf("answer: an object was not gathered")
	}
	ordinals := w.ordinals[w.entries[w.cursor].first:]
	for i := range o.judges {
		w.allowed = append(w.allowed, w.batches[w.batchOf[o.judges[i].guard]].verdicts[ordinals[i]])
	}
	return nil
}

// gather calls collect until what it needs is in memory, and the upstream's
// errors known.
func (w *walker) gather(collect func() error) error {
	for {
		err := collect()
		switch err {
		case errShort:
			err = w.in.more()
		case errUnknown:
			err = w.lookForErrors()
		default:
			return err
		}
		if err != nil {
			return err
		}
	}
}

// window gathers and judges what follows of a list, whole elements only. Where
// the first element alone is too large, nothing is gathered: what is in it is
// judged as it comes.
func (w *walker) window(f *field, t *ast.Type, index int) error {
	end := w.in.pos
	items := 0
	for items < WindowItems && end-w.in.pos < WindowBytes {
		next, last, err := oneElement(w.in.data, end, items == 0)
		if err == errShort {
			if len(w.in.data)-w.in.pos >= WindowBytes {
				break
			}
			before := w.in.pos
			if err := w.in.more(); err != nil {
				return err
			}
			end += w.in.pos - before
			continue
		}
		if err != nil {
			return err
		}
		items++
		if end = next; last {
			break
		}
	}
	if items == 0 {
		return nil
	}
	size := end - w.in.pos
	err := w.gather(func() error {
		w.clearBatches()
		return w.collectElements(w.in.data, w.in.pos, w.in.pos+size, f, t, index)
	})
	if err != nil {
		return err
	}
	w.windowEnd = w.in.offset() + int64(size)
	return w.judge()
}

// oneElement returns where the element ends that begins at b[i], or behind the
// comma there; last: the list ends with it.
func oneElement(b []byte, i int, first bool) (end int, last bool, err error) {
	if !first {
		if i, err = nextItem(b, i, ']'); err != nil {
			return i, false, err
		}
	}
	if end, err = skipValue(b, i); err != nil {
		return i, false, err
	}
	next := skipSpace(b, end)
	if next >= len(b) {
		return i, false, errShort
	}
	return end, b[next] == ']', nil
}

// collectElements gathers the elements in b[i:end].
func (w *walker) collectElements(b []byte, i, end int, f *field, t *ast.Type, index int) error {
	depth := len(w.path)
	defer func() { w.path = w.path[:depth] }()
	for {
		w.path = append(w.path[:depth], step{in: index})
		next, err := w.collect(b, i, f, t)
		if err != nil {
			return err
		}
		if next >= end {
			return nil
		}
		if i, err = nextItem(b, next, ']'); err != nil {
			return err
		}
		if b[i] == ']' {
			return nil
		}
		index++
	}
}

// collect gathers what stands in the value at b[i], and returns where it ends.
func (w *walker) collect(b []byte, i int, f *field, t *ast.Type) (end int, err error) {
	if end, err = skipValue(b, i); err != nil {
		return i, err
	}
	switch {
	case t.Elem != nil && b[i] == '[':
		if first := skipSpace(b, i+1); b[first] != ']' {
			err = w.collectElements(b, first, end-1, f, t.Elem, 0)
		}
	case t.Elem == nil && b[i] == '{' && f.sub != nil && f.sub.judged:
		err = w.collectObject(b, i, f.sub)
	}
	return end, err
}

// collectObject gathers an object and what stands in it.
func (w *walker) collectObject(b []byte, i int, p *place) error {
	typ := p.single
	if typ < 0 {
		var err error
		if typ, err = w.typeAt(b, i, p.typ); err != nil {
			return err
		}
	}
	o, err := w.shape.object(p, typ)
	if err != nil {
		return err
	}
	if len(o.judges) > 0 {
		if err := w.collectOwn(b, i, o); err != nil {
			return err
		}
	}
	if !o.deeper {
		return nil
	}
	hint := 0
	return members(b, i, func(key []byte, start, end int) (bool, error) {
		k := o.find(key, hint)
		if k < 0 {
			return true, nil
		}
		hint = k + 1
		f := &o.fields[k]
		if !f.within.judged {
			return true, nil
		}
		w.path = append(w.path, step{key: f.key})
		_, err := w.collect(b, start, f, f.def.Type)
		w.path = w.path[:len(w.path)-1]
		return err == nil, err
	})
}

// collectOwn gathers what the rules of the object at b[i] read.
func (w *walker) collectOwn(b []byte, i int, o *object) error {
	w.found = append(w.found[:0], make([]span, len(o.wanted))...)
	left := len(o.wanted)
	if left > 0 {
		err := members(b, i, func(key []byte, start, end int) (bool, error) {
			for k, alias := range o.wanted {
				if alias != string(key) {
					continue
				}
				if w.found[k].end == 0 {
					left--
				}
				w.found[k] = span{start, end}
			}
			return left > 0, nil
		})
		if err != nil {
			return err
		}
	}
	w.entries = append(w.entries, entry{w.in.base + int64(i), int32(len(w.ordinals))})
	for k := range o.judges {
		j := &o.judges[k]
		batch := &w.batches[w.batchOf[j.guard]]
		begin := len(batch.text)
		w.lost = false
		var err error
		batch.text, err = w.project(batch.text, b, j.reads, func(alias string) span {
			for k := range o.wanted {
				if o.wanted[k] == alias {
					return w.found[k]
				}
			}
			return span{}
		})
		if err != nil {
			return err
		}
		if w.lost {
			// What the upstream failed to give is no fact: a rule with `not` would take its absence for one.
			// No object is denied (policy.ObjectRule.Judge).
			batch.text = append(batch.text[:begin], nullText...)
		}
		w.ordinals = append(w.ordinals, int32(len(batch.ends)))
		batch.ends = append(batch.ends, len(batch.text))
	}
	return nil
}

// project appends the object that a rule reads.
func (w *walker) project(dst, b []byte, p *projection, find func(alias string) span) ([]byte, error) {
	dst = append(dst, '{')
	for i := range p.fields {
		f := &p.fields[i]
		at := find(f.alias)
		if at.end == 0 {
			w.lost = true
			continue
		}
		w.path = append(w.path, step{key: f.alias})
		absent, err := w.upstream.absent(w, b[at.start:at.end])
		w.lost = w.lost || absent
		if err == nil && !absent {
			if dst[len(dst)-1] != '{' {
				dst = append(dst, ',')
			}
			dst, err = w.projectValue(append(dst, f.name...), b, at, f)
		}
		w.path = w.path[:len(w.path)-1]
		if err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// projectValue appends the value of a field that a rule reads.
func (w *walker) projectValue(dst, b []byte, at span, f *projected) ([]byte, error) {
	if f.types == nil || b[at.start] == 'n' {
		return append(dst, b[at.start:at.end]...), nil
	}
	if b[at.start] == '[' {
		dst = append(dst, '[')
		i := skipSpace(b, at.start+1)
		for index := 0; b[i] != ']'; index++ {
			end, err := skipValue(b, i)
			if err != nil {
				return dst, err
			}
			if index > 0 {
				dst = append(dst, ',')
			}
			w.path = append(w.path, step{in: index})
			absent, err := w.upstream.absent(w, b[i:end])
			w.lost = w.lost || absent
			if err == nil {
				dst, err = w.projectValue(dst, b, span{i, end}, f)
			}
			w.path = w.path[:len(w.path)-1]
			if err != nil {
				return dst, err
			}
			if i, err = nextItem(b, end, ']'); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	}
	if b[at.start] != '{' {
		return dst, &FormatError{"an object was asked for as " + f.alias}
	}
	return w.projectObject(dst, b, at.start, f)
}

func (w *walker) projectObject(dst, b []byte, i int, f *projected) ([]byte, error) {
	typ := f.single
	first := len(w.nested)
	defer func() { w.nested = w.nested[:first] }()
	err := members(b, i, func(key []byte, start, end int) (bool, error) {
		w.nested = append(w.nested, named{key, span{start, end}})
		if f.single < 0 && string(key) == typeKey && b[start] == '"' {
			name, err := unquote(b[start:end])
			typ = w.plan.op.Schema.ObjectIndex(string(name))
			return err == nil, err
		}
		return true, nil
	})
	if err != nil {
		return dst, err
	}
	if typ < 0 {
		return dst, &FormatError{"the type of an object under " + f.alias + " is missing"}
	}
	below := f.types[typ]
	if below == nil {
		below = &projection{}
	}
	last := len(w.nested)
	return w.project(dst, b, below, func(alias string) (at span) {
		for _, n := range w.nested[first:last] {
			if string(n.key) == alias {
				at = n.at
			}
		}
		return at
	})
}

// judge asks every rule for which something was gathered.
func (w *walker) judge() error {
	for i := range w.batches {
		b := &w.batches[i]
		if len(b.ends) == 0 {
			continue
		}
		b.parents = b.parents[:0]
		start := 0
		for _, end := range b.ends {
			b.parents = append(b.parents, b.text[start:end:end])
			start = end
		}
		var err error
		if b.verdicts, err = b.rule.Judge(w.ctx, b.parents); err != nil {
			return err
		}
		if len(b.verdicts) != len(b.parents) {
			return fmt.Errorf("answer: a rule gave %d verdicts on %d parents", len(b.verdicts), len(b.parents))
		}
	}
	return nil
}

var nullText = []byte("null")

func holdsNull(v []byte) bool { return v[0] == 'n' || v[0] == '[' && bytes.Contains(v, nullText) }
