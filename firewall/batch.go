package firewall

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/graphward/graphward/cost/budget"
	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/gqlhttp"
)

// batched is one call of a batch between judgement and answer.
type batched struct {
	record  *audit.Record
	verdict *verdict // nil before there was a plan
	refusal *Refusal // nil when let through
}

// batch judges every call, then charges and forwards those that were let
// through, one by one in order. A refused element does not touch the others;
// cost.max holds for the sum. The answer is an array of as many elements.
func (x *exchange) batch(ctx context.Context, m *gqlhttp.Message, payer *holder) {
	calls := make([]batched, len(m.Calls))
	total := 0.0
	for i := range m.Calls {
		b := &calls[i]
		b.record = x.record()
		j := &judge{f: x.f, g: x.g}
		v, ok := j.call(ctx, &m.Calls[i], m.Method, x.who, total)
		describe(b.record, v, j)
		b.verdict = v
		if !ok {
			b.refusal = j.refusals[0]
			continue
		}
		total += b.verdict.estimate.Total
	}
	body := []byte{'['}
	for i := range calls {
		if i > 0 {
			body = append(body, ',')
		}
		b := &calls[i]
		if b.refusal == nil {
			body = x.element(ctx, body, b, m.Calls[i].Extensions, payer)
		}
		if b.refusal != nil {
			out := x.refusal(b.record, b.refusal)
			body = gqlhttp.AppendRefusal(body, out.Problems)
			b.refusal.budgetHeaders(x.w.Header())
			out.SetHeader(x.w.Header(), http.StatusOK)
			x.refused(b.record, b.refusal, http.StatusOK)
		}
		if int64(len(body)) > x.g.route.guard.max {
			// What follows would not fit: the whole answer is refused, what
			// was forwarded stays charged.
			x.refuseRest(calls[i+1:])
			x.refuseCall(x.record(), refuse(StageGuard, errTooLarge))
			return
		}
	}
	if slices.ContainsFunc(calls, func(b batched) bool { return b.refusal == nil && b.verdict.readsSubject }) {
		setPrivate(x.w.Header())
	}
	x.g.cors.Decorate(x.w.Header(), x.r)
	_ = gqlhttp.WriteBody(x.w, http.StatusOK, x.accept, append(body, ']'))
}

func (x *exchange) refuseRest(calls []batched) {
	for i := range calls {
		x.refused(calls[i].record, refuse(StageGuard, errTooLarge), http.StatusBadGateway)
	}
}

// element charges and forwards one call and appends its answer. When it is
// refused on the way, b.refusal is set and nothing is appended.
func (x *exchange) element(ctx context.Context, body []byte, b *batched, extensions []byte, payer *holder) []byte {
	if b.refusal = x.reserve(ctx, b.verdict, b.record, payer); b.refusal != nil {
		return body
	}
	x.f.remember(b.verdict, x.who)
	x.open = b.record
	defer func() { x.held.receipt = budget.Receipt{} }()
	answer, status, err := x.fetch(ctx, b.verdict, extensions)
	b.record.Upstream.Status, b.record.Upstream.Bytes = status, int64(len(answer))
	if err != nil {
		x.settleFailed(ctx, err)
		stage := StageForward
		if b.verdict.protection != nil {
			stage = StageGuard
		}
		b.refusal = refuse(stage, err)
		return body
	}
	x.settled(ctx, b.record)
	return append(body, answer...)
}

// fetch forwards a call and reads its whole answer, guarded.
func (x *exchange) fetch(ctx context.Context, v *verdict, extensions []byte) ([]byte, int, error) {
	if p := v.protection; p != nil && !p.forwards() {
		var body bytes.Buffer
		err := x.rewrite(ctx, v, &body, bytes.NewReader(p.answers.Local(v.variables)))
		return body.Bytes(), 0, err
	}
	out, err := x.f.forward(ctx, x, v, extensions)
	if err != nil {
		return nil, 0, err
	}
	defer out.close()
	if v.protection != nil {
		var body bytes.Buffer
		err := x.rewrite(ctx, v, &body, &bodyReader{out: out})
		if err == nil && !jsontext.Value(body.Bytes()).IsValid() {
			err = errNotGraphQL
		}
		return body.Bytes(), out.StatusCode, err
	}
	g := &x.g.route.guard
	body, err := io.ReadAll(io.LimitReader(&progressReader{out}, g.max+1))
	switch {
	case err != nil:
		return nil, out.StatusCode, asUpstreamError(out.ctx, err)
	case int64(len(body)) > g.max:
		return nil, out.StatusCode, errTooLarge
	}
	x.price(v, body)
	// An element of an array must be JSON, also where nothing is guarded.
	if body, _, err = g.rewrite(out.StatusCode, body); err == nil && !jsontext.Value(body).IsValid() {
		err = errNotGraphQL
	}
	return body, out.StatusCode, err
}

// progressReader counts what is read towards the upstream deadline.
type progressReader struct{ out *upstreamAnswer }

func (p *progressReader) Read(b []byte) (int, error) {
	n, err := p.out.Body.Read(b)
	if n > 0 {
		p.out.deadline.read(n)
	}
	return n, err
}
