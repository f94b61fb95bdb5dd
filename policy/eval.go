package policy

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// session is the evaluation of one call into the engine: its deadline and its
// buffers. OPA is stopped through one cancel flag that a timer sets, so no
// goroutine waits anywhere.
type session struct {
	engine *Engine
	ctx    context.Context
	facts  facts
	key    []byte
	live   []bool
	answer *identityAnswer // of the subject; nil before it was asked for
	// visible says that introspection was allowed as "visible".
	visible bool
	// lacks says that an identity verdict is what an operation was first found
	// to be refused for.
	lacks  bool
	limit  time.Duration // what arm gives the evaluations together
	cancel topdown.Cancel
	timer  *time.Timer
	stop   func() bool // detaches the cancel flag from ctx
}

var sessions = sync.Pool{New: func() any { return new(session) }}

// maxKeptBuffer bounds what a pooled session holds on to, in bytes.
const maxKeptBuffer = 64 << 10

var (
	noSubject Subject
	noRequest Request
)

func (e *Engine) begin(ctx context.Context, sub *Subject, req *Request) *session {
	s := sessions.Get().(*session)
	s.engine, s.ctx, s.limit = e, ctx, e.timeout
	s.facts = facts{subject: sub, request: req}
	if sub == nil {
		s.facts.subject = &noSubject
	}
	if req == nil {
		s.facts.request = &noRequest
	}
	return s
}

func (s *session) end() {
	if s.timer != nil {
		s.timer.Stop()
	}
	if s.stop != nil {
		s.stop()
	}
	key, live := s.key[:0], s.live[:0]
	if cap(key) > maxKeptBuffer {
		key = nil
	}
	*s = session{key: key, live: live}
	sessions.Put(s)
}

// arm starts the deadline with the first evaluation.
func (s *session) arm() {
	if s.cancel != nil {
		return
	}
	s.cancel = topdown.NewCancel()
	s.timer = time.AfterFunc(s.limit, s.cancel.Cancel)
	if s.ctx.Done() != nil {
		s.stop = context.AfterFunc(s.ctx, s.cancel.Cancel)
	}
}

// undefined is the cached answer of a rule that has no value.
var undefined = ast.NewTerm(ast.NewSet())

// value returns the class's value for the session's facts, nil when undefined.
func (s *session) value(c *class) (*ast.Term, error) {
	if c.constant != nil {
		return c.constant, nil
	}
	c = c.same
	s.key = binary.AppendUvarint(s.key[:0], uint64(c.id)+1)
	head := len(s.key)
	s.key = appendInput(s.key, &c.shape, &s.facts)
	if !c.impure {
		if v, ok := s.engine.answers.get(s.key).(*ast.Term); ok {
			return defined(v), nil
		}
	}
	query, err := c.query(s.engine)
	if err != nil {
		return nil, &EvalError{Rule: c.group.head, Err: err}
	}
	v, err := s.eval(query, decodeInput(&c.shape, s.key[head:]), c.group.head)
	if err != nil {
		return nil, err
	}
	if v == nil {
		v = undefined
	}
	if !c.impure {
		s.engine.answers.put(s.key, v, termSize(v))
	}
	return defined(v), nil
}

// targeted asks a head with variables for one coordinate. It is for heads whose
// whole extent cannot be had, because some of it fails.
func (s *session) targeted(c *class, at coordinate) (bool, error) {
	c = c.same
	projected := appendInput(nil, &c.shape, &s.facts)
	key := binary.AppendUvarint(nil, uint64(c.id)+1)
	key = appendText(appendText(key, tagString, at.typ), tagString, at.field)
	key = append(key, projected...)
	if v, ok := s.engine.answers.get(key).(*ast.Term); ok && !c.impure {
		return isTrue(v), nil
	}
	ref := append(entryRef(c.group.name), ast.StringTerm(at.typ), ast.StringTerm(at.field))
	query, err := s.engine.prepare(ast.NewBody(ast.NewExpr(ast.NewTerm(ref))))
	if err != nil {
		return false, &EvalError{Rule: c.group.head, Err: err}
	}
	v, err := s.eval(&query, decodeInput(&c.shape, projected), c.group.head)
	if err != nil {
		return false, err
	}
	if v == nil {
		v = undefined
	}
	if !c.impure {
		s.engine.answers.put(key, v, termSize(v))
	}
	return isTrue(v), nil
}

// termSize approximates the bytes that a value holds.
func termSize(v *ast.Term) int {
	n := 0
	ast.WalkTerms(v, func(*ast.Term) bool { n += 64; return false })
	return n
}

func defined(v *ast.Term) *ast.Term {
	if v == undefined {
		return nil
	}
	return v
}

// eval runs a query of one expression and returns its value, nil when undefined.
func (s *session) eval(q *rego.PreparedEvalQuery, input *ast.Term, rule string, more ...rego.EvalOption) (*ast.Term, error) {
	rs, err := s.run(q, input, rule, more...)
	if err != nil {
		return nil, err
	}
	if len(rs) == 0 || len(rs[0].Expressions) == 0 {
		return nil, nil
	}
	t, ok := rs[0].Expressions[0].Value.(*ast.Term)
	if !ok {
		return nil, &EvalError{Rule: rule, Err: errors.New("unexpected kind of answer")}
	}
	return t, nil
}

func (s *session) run(q *rego.PreparedEvalQuery, input *ast.Term, rule string, more ...rego.EvalOption) (rego.ResultSet, error) {
	if s.ctx.Err() != nil {
		return nil, s.failed(context.Cause(s.ctx), rule)
	}
	s.arm()
	options := append([]rego.EvalOption{
		rego.EvalParsedInput(input.Value),
		rego.EvalMetrics(metrics.NoOp()),
		rego.EvalExternalCancel(s.cancel),
	}, more...)
	rs, err := q.Eval(context.WithoutCancel(s.ctx), options...)
	if err != nil {
		return nil, s.failed(err, rule)
	}
	return rs, nil
}

// failed tells apart that time ran out, that the caller went away, and that
// the rule is broken.
func (s *session) failed(err error, rule string) error {
	switch ctxErr := s.ctx.Err(); {
	case errors.Is(ctxErr, context.Canceled):
		return ctxErr
	case ctxErr != nil || topdown.IsCancel(err):
		return &TimeoutError{After: s.limit, Rule: rule}
	}
	return &EvalError{Rule: rule, Err: err}
}

// isTrue reports whether a value is the boolean true.
func isTrue(t *ast.Term) bool { return t != nil && ast.Boolean(true).Equal(t.Value) }
