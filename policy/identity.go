package policy

import (
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
	// failed marks verdicts whose rules failed; they are refused with an error.
	failed bitset
	errors map[int]error // by verdict bit
	values map[*class]identityValue
}

// identityValue is a class's answer: a truth value, or the coordinates that a
// head with variables grants.
type identityValue struct {
	allow  bool
	grants map[coordinate]bool
	err    error
}

// prepare builds the queries that evaluate all identity classes: each is a
// list with a list for each class, empty where the class is undefined.
func (t *identityTable) prepare(e *Engine) error {
	var paths pathSet
	for _, c := range e.classes {
		if c.group.kind == entryAllow && c.kind == classIdentity && c.constant == nil && c.same == c {
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
	t := &s.engine.identity
	s.key = binary.AppendUvarint(s.key[:0], identityKey)
	s.key = appendInput(s.key, &t.shape, &s.facts)
	if a, ok := s.engine.answers.get(s.key).(*identityAnswer); ok {
		return a, nil
	}
	input := decodeInput(&t.shape, s.key[1:])
	values, err := t.evaluate(s, input)
	if err != nil {
		return nil, err
	}
	a := t.answer(s.engine, values)
	s.engine.answers.put(s.key, a)
	return a, nil
}

// evaluate asks OPA for many classes at once, and one by one where that fails,
// so that one broken rule refuses only what it governs.
func (t *identityTable) evaluate(s *session, input *ast.Term) (map[*class]identityValue, error) {
	values := make(map[*class]identityValue, len(t.classes))
	shared := rego.EvalVirtualCache(topdown.NewVirtualCache()) // one input: helpers are evaluated once
	for i := range t.queries {
		chunk := t.classes[i*classesPerQuery : min((i+1)*classesPerQuery, len(t.classes))]
		all, err := s.eval(&t.queries[i], input, chunk[0].group.head, shared)
		if err == nil {
			list, ok := all.Value.(*ast.Array)
			if !ok || list.Len() != len(chunk) {
				return nil, &EvalError{Rule: chunk[0].group.head, Err: errors.New("unexpected kind of answer")}
			}
			for j, c := range chunk {
				values[c] = valueOf(c, first(list.Elem(j)), nil)
			}
			continue
		}
		if err := t.oneByOne(s, chunk, input, values); err != nil {
			return nil, err
		}
	}
	return values, nil
}

func (t *identityTable) oneByOne(s *session, chunk []*class, input *ast.Term, values map[*class]identityValue) error {
	for _, c := range chunk {
		q, err := c.query(s.engine)
		if err != nil {
			return err
		}
		v, err := s.eval(q, input, c.group.head)
		if _, broken := err.(*EvalError); err != nil && !broken {
			return err // out of time
		}
		values[c] = valueOf(c, v, err)
	}
	return nil
}

func first(t *ast.Term) *ast.Term {
	if list, ok := t.Value.(*ast.Array); ok && list.Len() > 0 {
		return list.Elem(0)
	}
	return nil
}

func valueOf(c *class, v *ast.Term, err error) identityValue {
	if err != nil || v == nil {
		return identityValue{err: err}
	}
	if !c.group.vars {
		return identityValue{allow: isTrue(v)}
	}
	return identityValue{grants: grants(v)}
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

// answer combines the classes' values to the verdicts' bits.
func (t *identityTable) answer(e *Engine, values map[*class]identityValue) *identityAnswer {
	a := &identityAnswer{
		allowed: newBitset(len(t.verdicts)), failed: newBitset(len(t.verdicts)),
		values: values, errors: map[int]error{},
	}
	for i, v := range t.verdicts {
		ok, err := a.decide(v)
		if err != nil {
			a.failed.set(i)
			a.errors[i] = err
		}
		if ok && err == nil {
			a.allowed.set(i)
		}
	}
	return a
}

// decide walks the levels of a verdict whose classes are all identity classes.
func (a *identityAnswer) decide(v *verdict) (bool, error) {
	for i := range v.levels {
		lv := &v.levels[i]
		if lv.rule != nil {
			if ok, err := a.rule(lv.rule); ok || err != nil {
				return ok, err
			}
		}
		for _, c := range lv.vars {
			if ok, err := a.grant(c, lv.at); ok || err != nil {
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
	v := a.values[c.same]
	return v.allow, v.err
}

// grant returns whether a head with variables gives the coordinate.
func (a *identityAnswer) grant(c *class, at coordinate) (bool, error) {
	v := a.values[c.same]
	return v.grants[at], v.err
}
