package policy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// bitset holds one bit for each identity verdict.
type bitset []uint64

func newBitset(n int) bitset { return make(bitset, (n+63)/64) }

func (b bitset) set(i int)      { b[i>>6] |= 1 << (uint(i) & 63) }
func (b bitset) has(i int) bool { return b[i>>6]&(1<<(uint(i)&63)) != 0 }

// identityTable decides everything that depends on the subject alone, once
// for each distinct projection of the subject.
type identityTable struct {
	verdicts []*verdict
	classes  []*class // those with OPA work to do
	shape    shape
	// queries evaluate classesPerQuery classes each, in order.
	queries []rego.PreparedEvalQuery
}

// classesPerQuery bounds one query: OPA compiles it in quadratic time, and
// each costs some microseconds whatever it holds.
const classesPerQuery = 64

// identityAnswer is what one subject may do. It is immutable.
type identityAnswer struct {
	allowed bitset
	// errors holds, by bit, verdicts whose rules failed: those are refused with
	// the error. nil when there are none.
	errors map[int]error
	chunks []*chunkAnswer
}

// chunkAnswer holds the values of classesPerQuery classes for one subject.
// Each is cached by itself, so that a decision that ran out of time is not
// begun from nothing the next time.
type chunkAnswer struct {
	allowed uint64
	errors  map[int]error               // by position in the chunk
	grants  map[int]map[coordinate]bool // by position: what heads with variables grant
}

// size approximates the bytes that an answer holds.
func (a *identityAnswer) size() int { return 64 + 8*(len(a.allowed)+len(a.chunks)) }

func (a *chunkAnswer) size() int {
	n := 64
	for _, g := range a.grants {
		n += 64 * (1 + len(g))
	}
	return n
}

// prepare builds the queries that evaluate all identity classes: each is a
// list with a list for each class, empty where the class is undefined.
func (t *identityTable) prepare(e *Engine) error {
	var paths pathSet
	for _, c := range e.classes {
		if c.group.kind == entryAllow && c.kind == classIdentity && c.constant == nil && c.same == c {
			c.position = len(t.classes)
			t.classes = append(t.classes, c)
			paths.merge(&c.reads.paths)
		}
	}
	t.shape = inputShape(&paths)
	for chunk := range slices.Chunk(t.classes, classesPerQuery) {
		list := make([]*ast.Term, len(chunk))
		for i, c := range chunk {
			v := ast.VarTerm("v")
			list[i] = ast.ArrayComprehensionTerm(v, ast.NewBody(ast.Equality.Expr(v, ast.NewTerm(entryRef(c.group.name)))))
		}
		q, err := e.prepare(ast.NewBody(ast.NewExpr(ast.ArrayTerm(list...))))
		if err != nil {
			return err
		}
		t.queries = append(t.queries, q)
	}
	return nil
}

// identityKey distinguishes the bitmap's keys from those of classes.
const identityKey = 0

// identity returns what the subject may do.
func (s *session) identity() (*identityAnswer, error) {
	if s.answer != nil {
		return s.answer, nil
	}
	t := &s.engine.identity
	s.key = binary.AppendUvarint(s.key[:0], identityKey)
	s.key = append(s.key, 0) // as a chunk, this is the whole
	s.key = appendInput(s.key, &t.shape, &s.facts)
	if a, ok := s.engine.answers.get(s.key).(*identityAnswer); ok {
		s.answer = a
		return a, nil
	}
	projected := bytes.Clone(s.key[2:])
	a, err := t.evaluate(s, projected)
	if err != nil {
		return nil, err
	}
	s.key = append(append(s.key[:0], identityKey, 0), projected...)
	s.engine.answers.put(s.key, a, a.size())
	s.answer = a
	return a, nil
}

// evaluate asks for all classes and combines their values to the verdicts' bits.
func (t *identityTable) evaluate(s *session, projected []byte) (*identityAnswer, error) {
	a := &identityAnswer{allowed: newBitset(len(t.verdicts))}
	var input *ast.Term
	shared := rego.EvalVirtualCache(topdown.NewVirtualCache()) // one input: helpers are evaluated once
	for i := range t.queries {
		s.key = binary.AppendUvarint(append(s.key[:0], identityKey), uint64(i)+1)
		s.key = append(s.key, projected...)
		chunk, ok := s.engine.answers.get(s.key).(*chunkAnswer)
		if !ok {
			if input == nil {
				input = decodeInput(&t.shape, projected)
			}
			var err error
			if chunk, err = t.chunk(s, i, input, shared); err != nil {
				return nil, err
			}
			s.engine.answers.put(s.key, chunk, chunk.size())
		}
		a.chunks = append(a.chunks, chunk)
	}
	for i, v := range t.verdicts {
		ok, err := a.decide(s, v)
		var broken *EvalError
		switch {
		case err != nil && !errors.As(err, &broken):
			return nil, err // out of time
		case err != nil && a.errors == nil:
			a.errors = map[int]error{i: err}
		case err != nil:
			a.errors[i] = err
		case ok:
			a.allowed.set(i)
		}
	}
	return a, nil
}

// chunk asks OPA for the classes of one query at once, and one by one where
// that fails, so that one broken rule refuses only what it governs.
func (t *identityTable) chunk(s *session, i int, input *ast.Term, shared rego.EvalOption) (*chunkAnswer, error) {
	classes := t.classes[i*classesPerQuery : min((i+1)*classesPerQuery, len(t.classes))]
	out := &chunkAnswer{}
	all, err := s.eval(&t.queries[i], input, classes[0].group.head, shared)
	if err == nil {
		list, ok := all.Value.(*ast.Array)
		if !ok || list.Len() != len(classes) {
			return nil, &EvalError{Rule: classes[0].group.head, Err: errors.New("unexpected kind of answer")}
		}
		for j, c := range classes {
			out.set(j, c, first(list.Elem(j)))
		}
		return out, nil
	}
	for j, c := range classes {
		q, err := c.query(s.engine)
		if err != nil {
			return nil, err
		}
		v, err := s.eval(q, input, c.group.head)
		var broken *EvalError
		switch {
		case err == nil:
			out.set(j, c, v)
		case !errors.As(err, &broken):
			return nil, err // out of time
		case out.errors == nil:
			out.errors = map[int]error{j: err}
		default:
			out.errors[j] = err
		}
	}
	return out, nil
}

func (a *chunkAnswer) set(j int, c *class, v *ast.Term) {
	switch {
	case v == nil:
	case !c.group.vars:
		if isTrue(v) {
			a.allowed |= 1 << uint(j)
		}
	default:
		if a.grants == nil {
			a.grants = map[int]map[coordinate]bool{}
		}
		a.grants[j] = grants(v)
	}
}

func first(t *ast.Term) *ast.Term {
	if list, ok := t.Value.(*ast.Array); ok && list.Len() > 0 {
		return list.Elem(0)
	}
	return nil
}

// grants lists the coordinates to which a head with variables gave true.
func grants(v *ast.Term) map[coordinate]bool {
	out := map[coordinate]bool{}
	each(v, func(typ string, fields *ast.Term) {
		each(fields, func(field string, value *ast.Term) {
			if isTrue(value) {
				out[coordinate{typ, field}] = true
			}
		})
	})
	return out
}

func each(t *ast.Term, visit func(key string, value *ast.Term)) {
	if o, ok := t.Value.(ast.Object); ok {
		o.Foreach(func(k, v *ast.Term) {
			if s, ok := k.Value.(ast.String); ok {
				visit(string(s), v)
			}
		})
	}
}

// decide walks the levels of a verdict whose classes are all identity classes.
func (a *identityAnswer) decide(s *session, v *verdict) (bool, error) {
	for i := range v.levels {
		lv := &v.levels[i]
		if lv.rule != nil {
			if ok, err := a.rule(lv.rule); ok || err != nil {
				return ok, err
			}
		}
		for _, c := range lv.vars {
			if ok, err := a.grant(s, c, lv.at); ok || err != nil {
				return ok, err
			}
		}
	}
	return false, nil
}

// rule returns the answer of a head without variables.
func (a *identityAnswer) rule(c *class) (bool, error) {
	if c.constant != nil {
		return isTrue(c.constant), nil
	}
	chunk, j := a.of(c)
	return chunk.allowed&(1<<uint(j)) != 0, chunk.errors[j]
}

// grant returns whether a head with variables gives the coordinate.
func (a *identityAnswer) grant(s *session, c *class, at coordinate) (bool, error) {
	chunk, j := a.of(c)
	if chunk.errors[j] != nil {
		return s.targeted(c, at)
	}
	return chunk.grants[j][at], nil
}

func (a *identityAnswer) of(c *class) (*chunkAnswer, int) {
	return a.chunks[c.same.position/classesPerQuery], c.same.position % classesPerQuery
}
