package firewall

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/graphward/graphward/firewall/answer"
	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/gqlhttp"
	"github.com/graphward/graphward/policy"
)

// protected passes on an answer under the verdict's protection. Up to wholeBytes
// of it, and all of one that may have to be withheld, is held: until then a
// failure is a clean refusal.
func (x *exchange) protected(ctx context.Context, v *verdict, out *upstreamAnswer) error {
	to := &holdback{x: x, v: v, out: out, all: v.protection.withhold}
	if err := x.rewrite(ctx, v, to, &bodyReader{out: out}); err != nil {
		return err
	}
	return to.end()
}

// local answers a call of which nothing is forwarded.
func (x *exchange) local(ctx context.Context, v *verdict) {
	rec := x.open
	var body bytes.Buffer
	if err := x.rewrite(ctx, v, &body, bytes.NewReader(v.protection.answers.Local(v.variables))); err != nil {
		x.unanswered(ctx, rec, StageGuard, err)
		return
	}
	h := x.w.Header()
	setPrivate(h)
	x.rateHeaders(h)
	x.g.cors.Decorate(h, x.r)
	rec.Cost.Settled = x.g.route.guard.priced // nothing was asked for, so nothing was spent
	_ = gqlhttp.WriteBody(x.w, http.StatusOK, x.accept, body.Bytes())
	x.settled(ctx, rec)
}

// hidesValues reports whether anything that the upstream answers may be kept from
// the client.
func (p *protection) hidesValues() bool {
	return slices.ContainsFunc(p.guards, func(g policy.Guard) bool { return !p.observe || g.Mask != nil })
}

// rewrite guards an answer and records what was done to it. Errors are those
// that refuse knows.
func (x *exchange) rewrite(ctx context.Context, v *verdict, dst io.Writer, src io.Reader) error {
	p, g := v.protection, &x.g.route.guard
	options := &answer.Options{
		Vars: v.variables, Guards: p.bound, Local: p.local, Errors: g.errors, Limit: g.max,
		Withhold: p.withhold, Observe: p.observe, Reduced: p.hidesValues(), Keep: x.g.config.Responses.Extensions.Keep,
	}
	var priced *bytes.Buffer
	if g.priced && p.forwards() {
		priced = &bytes.Buffer{}
		src = io.TeeReader(src, &bounded{priced, g.pricedMax})
	}
	if x.g.config.Responses.Explain {
		options.Extensions = func(r *answer.Report) []byte {
			if priced != nil {
				x.price(v, priced.Bytes())
			}
			return x.told(v, r)
		}
	}
	report, err := p.answers.Rewrite(ctx, dst, src, options)
	if err != nil {
		return p.failure(err)
	}
	if priced != nil && options.Extensions == nil {
		x.price(v, priced.Bytes())
	}
	p.record(x.open, report)
	return nil
}

// failure says whose fault an error of the rewriting is.
func (p *protection) failure(err error) error {
	var (
		format *answer.FormatError
		masked *gqlhttp.ResponseError
		denied *answer.DeniedError
	)
	switch {
	case errors.As(err, &format), errors.As(err, &masked):
		return &upstreamError{cause: err, sent: true}
	case errors.As(err, &denied):
		return &deniedError{[]policy.Denial{p.guards[denied.Guard].Denial}}
	}
	return err
}

// record notes what was cut and masked, and by which rules.
func (p *protection) record(rec *audit.Record, r *answer.Report) {
	rec.Dropped += r.Dropped
	for i := range p.guards {
		d := &p.guards[i].Denial
		note := func(n int, decision string) {
			if n > 0 {
				rec.Rules = append(rec.Rules, audit.Rule{Coordinate: d.Coordinate, Head: d.Rule.Head, At: at(d.Rule), Decision: decision, Reads: d.Reads})
			}
		}
		if rec.Masked += r.Masked[i]; r.Masked[i] > 0 {
			note(r.Masked[i], "mask")
		}
		switch n := r.Denied[i]; {
		case n == 0:
		case p.observe:
			rec.Reported = append(rec.Reported, d.Code)
		default:
			rec.Cut += n
			note(n, "cut")
		}
	}
}

// maxTold bounds the guards of which extensions.graphward tells.
const maxTold = 100

// told is what a client that may know (responses.explain) is told in the
// answer's extensions, besides what the upstream says there.
func (x *exchange) told(v *verdict, r *answer.Report) []byte {
	out := []byte(`"graphward":{`)
	begin := len(out)
	out = v.protection.list(out, `"cut":`, r.Denied)
	out = v.protection.list(out, `"masked":`, r.Masked)
	if len(out) == begin {
		out = out[:0]
	} else {
		out = append(out, '}')
	}
	if c := x.costStatus(v); c != nil {
		if len(out) > 0 {
			out = append(out, ',')
		}
		out = c.append(append(out, `"cost":`...))
	}
	return out
}

// list appends the guards that decided something, each with its count of
// positions.
func (p *protection) list(out []byte, name string, counts []int) []byte {
	told, more := 0, 0
	for i, n := range counts {
		if n == 0 {
			continue
		}
		if told == maxTold {
			more++
			continue
		}
		if told++; told > 1 {
			out = append(out, ',')
		} else {
			if out[len(out)-1] != '{' {
				out = append(out, ',')
			}
			out = append(append(out, name...), '[')
		}
		d := &p.guards[i].Denial
		rule := d.Rule.Head
		if rule == "" {
			rule = "no rule: denied by default"
		} else if place := at(d.Rule); place != "" {
			rule += " at " + place
		}
		out = append(out, '{')
		for k, m := range []detail{{"coordinate", d.Coordinate}, {"path", strings.Join(d.Path, ".")}, {"rule", rule}} {
			if k > 0 {
				out = append(out, ',')
			}
			out, _ = jsontext.AppendQuote(out, m.name)
			out, _ = jsontext.AppendQuote(append(out, ':'), m.value)
		}
		out = strconv.AppendInt(append(out, `,"positions":`...), int64(n), 10)
		out = append(out, '}')
	}
	if told > 0 {
		out = append(out, ']')
	}
	if more > 0 {
		out = append(out, `,"more_`...)
		out = append(append(out, name[1:]...), strconv.Itoa(more)...)
	}
	return out
}

// bounded takes what fits; the rest is lost, and then too what came before is of
// no use.
type bounded struct {
	to  *bytes.Buffer
	max int64
}

func (b *bounded) Write(p []byte) (int, error) {
	if int64(b.to.Len()) <= b.max {
		b.to.Write(p)
	}
	return len(p), nil
}

// bodyReader reads an upstream's body; an error is an *upstreamError.
type bodyReader struct{ out *upstreamAnswer }

func (r *bodyReader) Read(p []byte) (int, error) {
	n, err := r.out.Body.Read(p)
	r.out.deadline.read(n)
	if err != nil && err != io.EOF {
		err = asUpstreamError(r.out.ctx, err)
	}
	return n, err
}

// holdback holds the beginning of an answer, or all of it.
type holdback struct {
	x    *exchange
	v    *verdict
	out  *upstreamAnswer
	held []byte
	all  bool
	rest io.Writer // nil until the header section is out
}

func (h *holdback) Write(p []byte) (int, error) {
	if h.rest == nil && (h.all || len(h.held)+len(p) <= wholeBytes) {
		h.held = append(h.held, p...)
		return len(p), nil
	}
	if h.rest == nil {
		h.out.ContentLength = -1
		if err := h.begin(); err != nil {
			return 0, err
		}
	}
	if _, err := h.rest.Write(p); err != nil {
		return 0, &clientError{err}
	}
	return len(p), nil
}

func (h *holdback) begin() error {
	h.x.head(h.v, h.out, h.v.protection.alters || h.x.g.route.guard.everywhere)
	if h.out.ContentLength >= 0 {
		h.x.w.Header()["Content-Length"] = []string{strconv.FormatInt(h.out.ContentLength, 10)}
	}
	h.x.w.WriteHeader(h.out.StatusCode)
	h.rest = h.x.w
	if _, err := h.rest.Write(h.held); err != nil {
		return &clientError{err}
	}
	return nil
}

// end writes an answer that was held as a whole, with its length.
func (h *holdback) end() error {
	if h.rest != nil {
		return nil
	}
	h.out.ContentLength = int64(len(h.held))
	return h.begin()
}
