package policy

import (
	"context"
	"time"

	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/graphward/graphward/schema"
)

const (
	maxWarm  = 1000 // classes
	warmTime = 2 * time.Second
)

// Warm prepares and evaluates rules once, so that Options.Timeout, which is for the work of a request, is not spent on what
// only the first request needs: OPA's plan of a rule, and memory. It asks as nobody and for nothing; what the answers are does not
// matter, and a rule that fails then fails in a request as well. It takes a bounded time, and less when ctx ends.
func (e *Engine) Warm(ctx context.Context) {
	ctx, stop := context.WithTimeout(ctx, warmTime)
	defer stop()
	s := e.begin(ctx, nil, nil)
	defer s.end()
	var err error
	if s.facts.operation, err = e.schema.Compile("{__typename}", "", schema.Limits{}); err != nil {
		return // no root type for queries: nothing can be asked
	}
	s.cancel = topdown.NewCancel() // no deadline of a request
	s.stop = context.AfterFunc(ctx, s.cancel.Cancel)
	_, _ = s.identity()
	asked := 0
	for _, c := range e.classes {
		if c.same != c || c.constant != nil || c.kind != classRequest {
			continue
		}
		if asked++; asked > maxWarm || ctx.Err() != nil {
			return
		}
		_, _ = s.value(c)
	}
}
