package firewall

import (
	"sync"

	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/gqlhttp"
	"github.com/graphward/graphward/firewall/upstream"
	"github.com/graphward/graphward/policy"
	"github.com/graphward/graphward/schema"
)

// memory is what a request that is no batch needs, in one piece that a later
// request uses again. A further record, judge or verdict, as batches need them,
// is made anew.
//
// Nothing in it may be kept beyond the request: sinks keep no record, and the
// policy keeps neither its subject nor its request.
type memory struct {
	exchange  exchange
	reply     reply
	caller    caller
	request   policy.Request
	judge     judge
	verdict   verdict
	admission admission
	record    audit.Record
	bound     schema.Variables
	answer    upstream.Answer
	rules     [1]audit.Rule
	recorded  bool // record is in use
	forwarded upstreamAnswer
	refusing
}

// refusing is what a refusal needs. One that is collected beside others, or
// only reported, is made anew.
type refusing struct {
	refusal  Refusal
	refusals [1]*Refusal // the judge's
	reports  [1]*Refusal // the judge's
	cost     costError
	denials  deniedError
	told     gqlhttp.Refusal
	problems [1]gqlhttp.Problem
	details  []byte
}

// answerOf keeps the answer of a request that is no batch.
func (m *memory) answerOf(a upstreamAnswer) *upstreamAnswer {
	if m.forwarded.Response != nil {
		other := a
		return &other
	}
	m.forwarded = a
	return &m.forwarded
}

// refuse is refuse for the request whose memory m is; nil: for another. The
// next refusal takes its memory.
func (m *memory) refuse(stage Stage, err error) *Refusal {
	if m == nil {
		return refuse(stage, err)
	}
	m.refusal.become(stage, err)
	return &m.refusal
}

func (m *memory) tooCostly(requested, limit float64) error {
	if m == nil {
		return &costError{requested, limit}
	}
	m.cost = costError{requested, limit}
	return &m.cost
}

func (m *memory) denied(d []policy.Denial) error {
	if m == nil {
		return &deniedError{d}
	}
	m.denials = deniedError{d}
	return &m.denials
}

var memories = sync.Pool{New: func() any { return new(memory) }}

// release ends the use of m. A request that panics does not release its own:
// who still uses it is not known then.
func (m *memory) release() {
	m.bound.Reset()
	m.answer.Reset()
	bound, answer, details := m.bound, m.answer, m.details[:0]
	*m = memory{}
	m.bound, m.answer, m.details = bound, answer, details
	memories.Put(m)
}
