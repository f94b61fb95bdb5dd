package firewall

import (
	"sync"

	"github.com/graphward/graphward/firewall/audit"
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
}

var memories = sync.Pool{New: func() any { return new(memory) }}

// release ends the use of m. A request that panics does not release its own:
// who still uses it is not known then.
func (m *memory) release() {
	m.bound.Reset()
	m.answer.Reset()
	*m = memory{bound: m.bound, answer: m.answer}
	memories.Put(m)
}
