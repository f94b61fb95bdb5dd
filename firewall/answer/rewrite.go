package answer

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/firewall/gqlhttp"
	"github.com/graphward/graphward/schema"
)

// flushAt is how much is gathered before it is written.
const flushAt = 32 << 10

// Options are what one answer is rewritten with.
type Options struct {
	// Vars are the coerced variables of the client's operation; nil: none.
	Vars *schema.Variables
	// Guards are those of the plan, in their order, with this request's rules.
	Guards []Guard
	// Local holds the values of root fields that the firewall answers itself.
	Local map[*ast.Field][]byte
	// Errors says what of the upstream's own errors and extensions may pass.
	Errors gqlhttp.ErrorOptions
	// Reduced leaves the upstream's extensions out, but for the members that Keep
	// names: nothing says what fields they speak of.
	Reduced bool
	Keep    []string
	// Limit is the largest answer of the upstream's, in bytes.
	Limit int64
	// Withhold ends with a *[DeniedError] at the first position that is denied
	// and not masked.
	Withhold bool
	// Observe counts what is denied and leaves it as it is; masks hold.
	Observe bool
	// Extensions returns members to add to the answer's extensions, without
	// braces; nil, and an empty result: none.
	Extensions func(*Report) []byte
}

// Report says what was done to an answer.
type Report struct {
	// Denied and Masked count positions, for each guard. A position counts
	// although a denial elsewhere took the region away in which it stood.
	Denied, Masked []int
	// Dropped counts the list items that were left out.
	Dropped int
}

// DeniedError ends an answer that is to be withheld.
type DeniedError struct {
	Guard int // of Options.Guards
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("answer: guard %d denies a position", e.Guard)
}

// Rewrite reads the upstream's answer to [Plan.Text] and writes the answer to
// the client's document. Nothing is written before the first 32 KiB of it are
// known to be right. Errors are *FormatError, *gqlhttp.ResponseError,
// *DeniedError, those of the rules and masks, and src's and dst's own; what was
// written by then must not be taken for an answer.
//
// An answer that does not fit the operation is a FormatError: on the way to a
// guard a member that was not asked for, another value where an object or a list
// must be, an object without its type; with New's check the same everywhere, an
// object or a list as a leaf, and a non-null field that is null or missing with no
// error at it, above it or below it.
func (p *Plan) Rewrite(ctx context.Context, dst io.Writer, src io.Reader, o *Options) (*Report, error) {
	s := p.shape(o.Vars)
	defer p.release(s)
	w := walker{
		ctx: ctx, plan: p, shape: s, opts: o, dst: dst,
		in:     input{r: src, limit: o.Limit},
		report: Report{Denied: make([]int, len(p.guards)), Masked: make([]int, len(p.guards))},
	}
	w.upstream.edited = p.text != p.op.Text
	w.batch()
	if err := w.body(); err != nil {
		return nil, err
	}
	return &w.report, w.flush()
}

// walker rewrites one answer.
type walker struct {
	ctx    context.Context
	plan   *Plan
	shape  *shape
	opts   *Options
	dst    io.Writer
	in     input
	report Report

	out     []byte
	flushed int64
	hold    int    // open regions that may yet become null
	sep     []byte // the separator that was read last
	between []byte // the colon that was read last
	path    []step
	depth   int // open brackets

	errs  []denied
	texts []byte // paths of errs
	cause cause
	// regions are the positions that became null by a denial, as keys, each
	// with its length before it; dropped the indices that were left out of a
	// list, by the list's key.
	regions []byte
	dropped map[string][]int
	// passed are the hashes of the positions that were there and may be seen.
	passed  map[uint64]struct{}
	scratch []byte

	upstream upstreamErrors
	judging
	seen []bool // of the fields of the objects that are open, where that is checked
	// lastDenied: of the object that ended last every field was denied.
	lastDenied bool
}

// step is a response key, or an index: as upstream counts and as we do.
type step struct {
	key     string
	in, out int
}

// denied is one error of ours. Its path is JSON, in walker.texts up to end.
type denied struct {
	guard int32
	end   int
}

// cause is the error of the region that is becoming null.
type cause struct {
	guard int32
	path  []byte
}

func (w *walker) flush() error {
	if len(w.out) == 0 {
		return nil
	}
	_, err := w.dst.Write(w.out)
	w.flushed += int64(len(w.out))
	w.out = w.out[:0]
	return err
}

func (w *walker) write(p []byte) error {
	w.out = append(w.out, p...)
	if len(w.out) >= flushAt && w.hold == 0 {
		return w.flush()
	}
	return nil
}

// mark is a state of the output to which a region that becomes null goes back.
type mark struct {
	out         int64
	errs, texts int
}

func (w *walker) mark() mark {
	return mark{w.flushed + int64(len(w.out)), len(w.errs), len(w.texts)}
}

func (w *walker) back(m mark) error {
	if m.out < w.flushed {
		return fmt.Errorf("answer: a region that was written became null")
	}
	w.out = w.out[:m.out-w.flushed]
	w.errs, w.texts = w.errs[:m.errs], w.texts[:m.texts]
	return nil
}

// separator consumes what stands before a member or an element, or before the
// closing bracket: end.
func (w *walker) separator(closing byte, first bool) (end bool, _ error) {
	w.sep = w.sep[:0]
	comma := false
	for {
		c, err := w.in.peek()
		if err != nil {
			return false, err
		}
		switch {
		case c == ',' && !first && !comma:
			comma = true
		case space(c):
		case c == closing && !comma:
			return true, nil
		case first || comma:
			return false, nil
		default:
			return false, errJSON
		}
		w.sep = append(w.sep, c)
		w.in.pos++
	}
}

// separate writes the separator that was read, with a comma exactly where
// something of the same brackets stands before it.
func (w *walker) separate(emitted bool) {
	comma := slices.Index(w.sep, ',')
	switch {
	case emitted && comma < 0:
		w.out = append(w.out, ',')
	case !emitted && comma >= 0:
		w.out = append(w.out, w.sep[comma+1:]...)
		return
	}
	w.out = append(w.out, w.sep...)
}

// colon consumes a colon with the space around it; w.between keeps it.
func (w *walker) colon() error {
	w.between = w.between[:0]
	for seen := false; ; w.in.pos++ {
		c, err := w.in.peek()
		if err != nil {
			return err
		}
		switch {
		case space(c):
		case c == ':' && !seen:
			seen = true
		case seen:
			return nil
		default:
			return errJSON
		}
		w.between = append(w.between, c)
	}
}

// raw consumes a value; it passes as it is, or not at all.
func (w *walker) raw(pass bool) error {
	c, err := w.in.peek()
	if err != nil {
		return err
	}
	if c == '}' || c == ']' || c == ',' || c == ':' {
		return errJSON
	}
	return w.rest(skipper{}, pass)
}

func (w *walker) rest(s skipper, pass bool) error {
	for {
		n, end := s.advance(w.in.data[w.in.pos:])
		text := w.in.data[w.in.pos : w.in.pos+n]
		w.in.pos += n
		if pass {
			if err := w.write(text); err != nil {
				return err
			}
		}
		if end {
			return nil
		}
		if err := w.in.more(); err != nil {
			return err
		}
	}
}

// skipRest consumes what is left of the brackets that are open.
func (w *walker) skipRest() error {
	w.depth--
	return w.rest(skipper{depth: 1}, false)
}

// slot rewrites the value at hand as one of type t, which takes up a failure
// inside unless t is non-null: failed says that what encloses it must be null.
func (w *walker) slot(f *field, t *ast.Type, masking bool) (failed bool, _ error) {
	m := w.mark()
	held := mayNull(t, f.within.fails)
	if held {
		w.hold++
	}
	failed, err := w.complete(f, t, masking)
	if held {
		w.hold--
	}
	if err != nil || !failed {
		return false, err
	}
	if err := w.back(m); err != nil {
		return false, err
	}
	if t.NonNull {
		return true, nil
	}
	return false, w.null()
}

// null writes null in place of a region, with the error that caused it.
func (w *walker) null() error {
	w.fail(w.cause.guard, w.cause.path)
	w.region()
	return w.write(jsonNull)
}

var jsonNull = []byte("null")

func (w *walker) fail(guard int32, path []byte) {
	w.texts = append(w.texts, path...)
	w.errs = append(w.errs, denied{guard, len(w.texts)})
}

// complete rewrites a value without taking up a failure.
func (w *walker) complete(f *field, t *ast.Type, masking bool) (failed bool, _ error) {
	c, err := w.in.peek()
	if err != nil {
		return false, err
	}
	switch {
	case t.Elem != nil && c == '[':
		return w.list(f, t, masking)
	case masking && t.Elem == nil:
		return w.mask(f)
	case c == 'n':
		if masking {
			w.region() // whatever the upstream says of it
		}
		if w.plan.check && t.NonNull {
			if err := w.excused(f.key, "is null"); err != nil {
				return false, err
			}
		}
		return false, w.raw(true)
	case t.Elem != nil:
		return false, &FormatError{"a list was asked for as " + f.key}
	case f.sub == nil:
		if w.plan.check && !w.plan.fits(t, c) {
			return false, &FormatError{"another value was asked for as " + f.key}
		}
		return false, w.raw(true)
	case c == '{':
		return w.object(f.sub)
	}
	return false, &FormatError{"an object was asked for as " + f.key}
}

// mask replaces a leaf.
func (w *walker) mask(f *field) (failed bool, _ error) {
	v, err := w.in.value()
	if err != nil {
		return false, err
	}
	g := &w.opts.Guards[f.guard]
	isNull := string(v) == "null"
	if isNull && w.upstream.possible() {
		w.region() // whatever the upstream says of it
	}
	switch {
	case g.Constant != nil:
		return false, w.write(g.Constant)
	case isNull:
		return false, w.write(v)
	}
	before := len(w.out)
	if w.out, err = g.Mask.Append(w.out, v); err != nil {
		w.out = w.out[:before]
		return w.deny(f.guard, w.leafType(f).NonNull)
	}
	return false, w.write(nil)
}

func (w *walker) leafType(f *field) *ast.Type {
	t := f.def.Type
	for t.Elem != nil {
		t = t.Elem
	}
	return t
}

// deny makes the position at hand null, or what encloses it.
func (w *walker) deny(guard int32, nonNull bool) (failed bool, _ error) {
	if w.opts.Withhold {
		return false, &DeniedError{int(guard)}
	}
	if nonNull {
		w.cause = cause{guard, appendPathJSON(nil, w.path)}
		return true, nil
	}
	w.texts = appendPathJSON(w.texts, w.path)
	w.errs = append(w.errs, denied{guard, len(w.texts)})
	w.region()
	return false, w.write(jsonNull)
}

// list rewrites a list.
func (w *walker) list(f *field, t *ast.Type, masking bool) (failed bool, err error) {
	w.in.pos++
	w.depth++
	if err := w.write([]byte{'['}); err != nil {
		return false, err
	}
	emitted := false
	index := step{}
	for first := true; ; first = false {
		end, err := w.separator(']', first)
		if err != nil {
			return false, err
		}
		if end {
			break
		}
		if f.within.judged && !masking && w.in.offset() >= w.windowEnd {
			if err := w.window(f, t.Elem, index.in); err != nil {
				return false, err
			}
		}
		dropped, failed, err := w.element(f, t.Elem, index, emitted, masking)
		if err != nil {
			return false, err
		}
		if failed {
			return true, w.skipRest()
		}
		index.in++
		if !dropped {
			emitted = true
			index.out++
		}
	}
	w.in.pos++
	w.depth--
	w.separateEnd()
	return false, w.write([]byte{']'})
}

// separateEnd writes the space before a closing bracket.
func (w *walker) separateEnd() { w.out = append(w.out, w.sep...) }

// element rewrites an element of a list of f's.
func (w *walker) element(f *field, t *ast.Type, index step, emitted, masking bool) (dropped, failed bool, err error) {
	drops := f.drop && !masking
	if drops {
		w.hold++
	}
	m := w.mark()
	w.separate(emitted)
	w.path = append(w.path, index)
	w.lastDenied = false
	if drops {
		failed, err = w.complete(f, t, masking)
		w.hold--
		dropped = failed || t.Elem == nil && w.lastDenied
		if err == nil && dropped {
			failed = false
			w.drop(index.in)
			err = w.back(m)
		}
	} else {
		failed, err = w.slot(f, t, masking)
	}
	w.path = w.path[:len(w.path)-1]
	return dropped, failed, err
}

// object rewrites an object.
func (w *walker) object(p *place) (failed bool, err error) {
	typ := p.single
	if typ < 0 {
		if typ, err = w.typeOf(p); err != nil {
			return false, err
		}
	}
	o, err := w.shape.object(p, typ)
	if err != nil {
		return false, err
	}
	base, seen := len(w.allowed), len(w.seen)
	if len(o.judges) > 0 {
		if err := w.decide(o); err != nil {
			return false, err
		}
	}
	failed, err = w.members(o, base)
	w.allowed, w.seen = w.allowed[:base], w.seen[:seen]
	if err == nil && failed {
		err = w.skipRest()
	}
	return failed, err
}

// tally counts the fields of an object, and those that were denied.
type tally struct{ fields, denied int }

func (t *tally) add(f *field, denied bool) {
	if f.def.Name == "__typename" {
		return
	}
	t.fields++
	if denied {
		t.denied++
	}
}

func (w *walker) members(o *object, base int) (failed bool, err error) {
	w.in.pos++
	w.depth++
	if err := w.write([]byte{'{'}); err != nil {
		return false, err
	}
	cuts := o.cuts
	emitted := false
	seen := len(w.seen)
	if w.plan.check {
		w.seen = append(w.seen, make([]bool, len(o.fields))...)
	}
	hint := 0
	var counted tally
	for first := true; ; first = false {
		end, err := w.separator('}', first)
		if err != nil {
			return false, err
		}
		if end {
			break
		}
		raw, err := w.in.string()
		if err != nil {
			return false, err
		}
		key, err := unquote(raw)
		if err != nil {
			return false, err
		}
		i := o.find(key, hint)
		switch {
		case i < 0 && own(string(key)), i >= 0 && o.fields[i].asked:
			if err := w.colon(); err != nil {
				return false, err
			}
			if err := w.raw(false); err != nil {
				return false, err
			}
			continue
		case i < 0 || o.fields[i].cut:
			return false, &FormatError{fmt.Sprintf("nothing was asked for as %.100q", key)}
		}
		hint = i + 1
		if w.plan.check {
			w.seen[seen+i] = true
		}
		for len(cuts) > 0 && int(cuts[0]) < i {
			if failed, err := w.put(&o.fields[cuts[0]], emitted, &counted); failed || err != nil {
				return failed, err
			}
			emitted, cuts = true, cuts[1:]
		}
		w.separate(emitted)
		emitted = true
		w.out = append(w.out, raw...)
		if err := w.colon(); err != nil {
			return false, err
		}
		w.out = append(w.out, w.between...)
		if failed, err := w.member(&o.fields[i], base, &counted); failed || err != nil {
			return failed, err
		}
	}
	if err := w.missing(o, seen); err != nil {
		return false, err
	}
	for _, c := range cuts {
		if failed, err := w.put(&o.fields[c], emitted, &counted); failed || err != nil {
			return failed, err
		}
		emitted = true
	}
	w.in.pos++
	w.depth--
	w.separateEnd()
	w.lastDenied = counted.denied > 0 && counted.denied == counted.fields
	return false, w.write([]byte{'}'})
}

// member rewrites the value of a field that the upstream answered.
func (w *walker) member(f *field, base int, counted *tally) (failed bool, err error) {
	if !f.walked() && !f.noted {
		counted.add(f, false)
		return false, w.raw(true)
	}
	w.path = append(w.path, step{key: f.key})
	denied := f.guard >= 0 && (f.judge < 0 || !w.allowed[base+int(f.judge)])
	if f.noted && (!denied || w.opts.Observe && w.opts.Guards[f.guard].Mask == nil) {
		w.pass()
	}
	masked := denied && w.opts.Guards[f.guard].Mask != nil
	switch {
	case masked && w.opts.Guards[f.guard].Position:
		w.report.Masked[f.guard]++
		w.region()
		if err = w.raw(false); err == nil {
			err = w.write(w.opts.Guards[f.guard].Constant)
		}
	case masked:
		w.report.Masked[f.guard]++
		failed, err = w.slot(f, f.def.Type, true)
	case denied && !w.opts.Observe:
		w.report.Denied[f.guard]++
		if err = w.raw(false); err == nil {
			failed, err = w.deny(f.guard, f.def.Type.NonNull)
		}
	default:
		if denied {
			w.report.Denied[f.guard]++
		}
		if !f.within.touched { // nothing below was added to, so that its types may be unknown
			err = w.raw(true)
			break
		}
		failed, err = w.slot(f, f.def.Type, false)
	}
	counted.add(f, denied && !masked && !w.opts.Observe)
	w.path = w.path[:len(w.path)-1]
	return failed, err
}

// put writes a field that was not asked for.
func (w *walker) put(f *field, emitted bool, counted *tally) (failed bool, err error) {
	if emitted {
		w.out = append(w.out, ',')
	}
	w.out = append(append(w.out, '"'), f.key...)
	w.out = append(w.out, '"', ':')
	if f.guard < 0 {
		counted.add(f, false)
		v := w.opts.Local[f.nodes[0]]
		if v == nil {
			return false, fmt.Errorf("answer: %s is neither denied nor answered", f.key)
		}
		return false, w.write(v)
	}
	g := &w.opts.Guards[f.guard]
	w.path = append(w.path, step{key: f.key})
	if counted.add(f, g.Mask == nil); g.Mask != nil {
		w.report.Masked[f.guard]++
		w.region() // whatever the upstream says of it
		err = w.write(g.Constant)
	} else {
		w.report.Denied[f.guard]++
		failed, err = w.deny(f.guard, f.def.Type.NonNull)
	}
	w.path = w.path[:len(w.path)-1]
	return failed, err
}
