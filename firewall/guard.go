package firewall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/gqlhttp"
)

// guard says what may have to change in an answer. The zero guard changes
// nothing: the answer is streamed untouched.
type guard struct {
	errors gqlhttp.ErrorOptions
	// active: something may change, so the answer must be readable: one JSON
	// body in identity encoding.
	active bool
	// everywhere: an `errors` or `extensions` member must be found wherever it
	// stands. Else only answers are looked at that begin with `errors` or have
	// a 4xx or 5xx status (DESIGN.md section 6).
	everywhere bool
	priced     bool // cost.actual: on
	pricedMax  int64
	max        int64
}

func newGuard(c *Config) guard {
	r := c.Responses
	g := guard{
		errors: gqlhttp.ErrorOptions{Mask: r.Errors == "mask", KeepCodes: r.KeepCodes,
			StripSuggestions: r.Suggestions == "strip", RemoveExtensions: r.Extensions.Remove},
		priced: c.Cost.Actual == "on", pricedMax: int64(c.Cost.ActualMaxBytes), max: int64(c.Upstream.MaxResponse),
	}
	if mutated("mask") {
		g.errors.Mask = false
	}
	if mutated("answer's size") {
		g.max = 1 << 40
	}
	if mutated("suggestions") {
		g.errors.StripSuggestions = false
	}
	g.everywhere = g.errors.Mask || len(g.errors.RemoveExtensions) > 0
	// responses.explain adds extensions.cost to answers up to wholeBytes.
	g.active = g.everywhere || g.errors.StripSuggestions || g.priced || r.Explain
	return g
}

// acceptable refuses an answer that cannot be guarded where it may have to be;
// protected: it has to.
func (g *guard) acceptable(res *http.Response, protected bool) error {
	if res.ContentLength > g.max {
		return fmt.Errorf("the answer has %d bytes, upstream.max_response is %d", res.ContentLength, g.max)
	}
	if res.StatusCode < 200 {
		return fmt.Errorf("the upstream answered with status %d", res.StatusCode)
	}
	if !g.active && !protected || mutated("answer's type") {
		return nil
	}
	if e := res.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") && !strings.EqualFold(e, "none") {
		return fmt.Errorf("the answer has content encoding %q though identity was asked for", e)
	}
	switch res.Header.Get("Content-Type") {
	case gqlhttp.MediaJSON, "application/json; charset=utf-8", gqlhttp.MediaGraphQL, "application/graphql-response+json; charset=utf-8":
		return nil
	}
	media, params, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if err != nil || (media != "application/json" && media != "application/graphql-response+json") {
		return fmt.Errorf("the answer has content type %q, status %d: not a GraphQL response", res.Header.Get("Content-Type"), res.StatusCode)
	}
	if cs := params["charset"]; cs != "" && !strings.EqualFold(cs, "utf-8") {
		return fmt.Errorf("the answer has charset %q", cs)
	}
	return nil
}

// wholeBytes is how much of an answer is read before any of it is written: up
// to here a failure is still a clean refusal and the length is known.
const wholeBytes = 64 << 10

var chunks = sync.Pool{New: func() any { b := make([]byte, wholeBytes); return &b }}

// Answers of largeAnswer and more are read in pieces of largePiece, by as many
// requests at a time as maxLarge says, so that memory is bounded; others read
// them in pieces of wholeBytes.
const (
	largeAnswer = 512 << 10
	largePiece  = 256 << 10
	maxLarge    = 64
)

// largePieces lends memory for them. The zero value is ready; it is safe for
// concurrent use.
type largePieces struct {
	lent atomic.Int64
	pool sync.Pool
}

var larges largePieces

// borrow returns nil where an answer of this length, negative when it is not
// known, does with less.
func (l *largePieces) borrow(length int64) *[]byte {
	if length < largeAnswer {
		return nil
	}
	if l.lent.Add(1) > maxLarge {
		l.lent.Add(-1)
		return nil
	}
	if b, ok := l.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, largePiece)
	return &b
}

// giveBack ends the use of b, which may be nil.
func (l *largePieces) giveBack(b *[]byte) {
	if b != nil {
		l.pool.Put(b)
		l.lent.Add(-1)
	}
}

// respond passes the answer on, guarded, and settles. Nothing is written
// before the answer is known to be acceptable as far as it was read.
func (x *exchange) respond(ctx context.Context, v *verdict, out *upstreamAnswer) {
	defer out.close()
	rec := x.open
	rec.Upstream.Status, rec.Upstream.Duration = out.StatusCode, out.waited
	buf := chunks.Get().(*[]byte)
	defer chunks.Put(buf)
	var err error
	switch {
	case v.protection != nil:
		err = x.protected(ctx, v, out)
	case x.g.route.guard.active:
		err = x.guarded(v, out, *buf)
	default:
		err = x.pass(v, out, *buf)
	}
	rec.Upstream.Bytes = x.w.bytes
	switch {
	case err == nil:
		x.settled(ctx, rec)
	case x.w.status == 0:
		x.unanswered(ctx, rec, StageGuard, err)
	default:
		// The header section is out: only cutting the connection says that
		// the answer is not whole.
		x.f.settle(ctx, &x.held, -1, x.last)
		rec.Verdict, rec.Aborted, rec.Status, rec.Message = audit.Failed, true, x.w.status, err.Error()
		rec.Stage, rec.Code = string(StageGuard), gqlhttp.CodeUpstreamError
		if clientGone(x.r.Context()) {
			rec.Code = ""
		}
		x.finish(rec)
		x.cut = true
		panic(http.ErrAbortHandler)
	}
}

// settled ends an allowed call: the reservation is corrected to the answer's
// price where it was priced.
func (x *exchange) settled(ctx context.Context, rec *audit.Record) {
	actual := -1.0
	if rec.Cost.Settled {
		actual = rec.Cost.Actual
	}
	x.f.settle(ctx, &x.held, actual, x.last)
	rec.Verdict, rec.Status = audit.Allowed, x.w.status
	x.finish(rec)
}

// unanswered ends a call that has no answer to pass on. A client that has left
// is told nothing, and its leaving is no failure of the upstream's.
func (x *exchange) unanswered(ctx context.Context, rec *audit.Record, stage Stage, err error) {
	x.settleFailed(ctx, err)
	if !clientGone(x.r.Context()) {
		x.refuseCall(rec, refuse(stage, err))
		return
	}
	rec.Verdict, rec.Aborted, rec.Stage, rec.Message = audit.Failed, true, string(stage), "the client left before the answer"
	x.finish(rec)
	x.cut = true
	panic(http.ErrAbortHandler)
}

// settleFailed gives the charge back where the upstream cannot have seen the
// request; else it did the work and the estimate stands.
func (x *exchange) settleFailed(ctx context.Context, err error) {
	actual := -1.0
	if e := (*upstreamError)(nil); errors.As(err, &e) && !e.sent {
		actual = 0
	}
	x.f.settle(ctx, &x.held, actual, x.last)
}

// setPrivate keeps an answer from all caches.
func setPrivate(h http.Header) {
	if !mutated("private answers") {
		gqlhttp.SetPrivate(h)
	}
}

// head writes the answer's header section.
func (x *exchange) head(v *verdict, out *upstreamAnswer, altered bool) {
	h := x.w.Header()
	x.g.route.response.Apply(h, out.Header, altered)
	if mutated("response headers") {
		maps.Copy(h, out.Header)
	}
	if altered || v.readsSubject {
		setPrivate(h)
	} else {
		gqlhttp.AddVary(h, "Authorization", "Accept")
	}
	if out.ContentLength < 0 {
		delete(h, "Content-Length")
	}
	x.rateHeaders(h)
	x.g.cors.Decorate(h, x.r)
}

// guarded passes on an answer that may have to change. Up to wholeBytes it is
// judged as a whole; a longer one goes through a relay.
func (x *exchange) guarded(v *verdict, out *upstreamAnswer, buf []byte) error {
	n, err := readFull(out, buf)
	first := buf[:n]
	switch {
	case err == io.EOF:
		return x.whole(v, out, first)
	case err != nil:
		return err
	case !beginsObject(first):
		return errNotGraphQL
	}
	g := &x.g.route.guard
	sought := g.everywhere || gqlhttp.SuggestionsPossible(out.StatusCode, first)
	body := &headed{w: x.w, begin: func() {
		x.head(v, out, sought)
		x.w.WriteHeader(out.StatusCode)
	}}
	r := &relay{w: body, guard: g}
	if sought {
		r.rewriter = gqlhttp.NewErrorWriter(body, &g.errors)
	}
	if g.priced {
		r.priced = &bytes.Buffer{}
	}
	large := larges.borrow(out.ContentLength)
	defer larges.giveBack(large)
	if large != nil {
		buf = *large
	}
	for piece := first; err == nil; piece = buf[:n] {
		if err = r.write(piece); err == nil {
			n, err = readFull(out, buf)
		}
	}
	if err != io.EOF {
		return err
	}
	if err := r.write(buf[:n]); err != nil {
		return err
	}
	if r.priced != nil {
		x.price(v, r.priced.Bytes())
	}
	return r.end()
}

// pass streams an answer that nothing guards, byte for byte; one without a
// length is flushed write by write.
func (x *exchange) pass(v *verdict, out *upstreamAnswer, buf []byte) error {
	x.head(v, out, false)
	x.w.WriteHeader(out.StatusCode)
	rc := http.NewResponseController(x.w)
	r := &relay{w: x.w, guard: &x.g.route.guard}
	large := larges.borrow(out.ContentLength)
	defer larges.giveBack(large)
	if large != nil {
		buf = *large
	}
	for {
		n, err := out.Body.Read(buf)
		if n > 0 {
			out.deadline.read(n)
			if err := r.write(buf[:n]); err != nil {
				return err
			}
			if out.ContentLength < 0 {
				_ = rc.Flush()
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return asUpstreamError(out.ctx, err)
		}
	}
}

var (
	errTooLarge   = &upstreamError{cause: errors.New("the answer is larger than upstream.max_response"), sent: true}
	errNotGraphQL = &upstreamError{cause: errors.New("the answer is not a JSON object"), sent: true}
)

// readFull fills buf. io.EOF comes with the last bytes of the body; any other
// error is an *upstreamError.
func readFull(out *upstreamAnswer, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var k int
		k, err = out.Body.Read(buf[n:])
		n += k
		out.deadline.read(k)
	}
	if err != nil && err != io.EOF {
		err = asUpstreamError(out.ctx, err)
	}
	return n, err
}

func beginsObject(body []byte) bool {
	for _, c := range body {
		switch c {
		case ' ', '\t', '\r', '\n':
		default:
			return c == '{'
		}
	}
	return false
}

// whole guards an answer that is in memory.
func (x *exchange) whole(v *verdict, out *upstreamAnswer, body []byte) error {
	x.price(v, body)
	body, altered, err := x.g.route.guard.rewrite(out.StatusCode, body)
	if err != nil {
		return err
	}
	if c := x.costStatus(v); c != nil {
		var told bool
		body, told = withExtension(body, "cost", c.append(nil))
		altered = altered || told
	}
	x.head(v, out, altered)
	setLength(x.w.Header(), len(body))
	x.w.WriteHeader(out.StatusCode)
	if _, err := x.w.Write(body); err != nil {
		return &clientError{err}
	}
	return nil
}

// setLength sets Content-Length unless it says n as it is.
func setLength(h http.Header, n int) {
	var digits [20]byte
	if text, is := strconv.AppendInt(digits[:0], int64(n), 10), h["Content-Length"]; len(is) != 1 || is[0] != string(text) {
		h["Content-Length"] = []string{string(text)}
	}
}

// rewrite returns the body as the client may see it.
func (g *guard) rewrite(status int, body []byte) (_ []byte, altered bool, _ error) {
	if !beginsObject(body) {
		return nil, false, errNotGraphQL
	}
	if !g.everywhere && !gqlhttp.SuggestionsPossible(status, body) {
		return body, false, nil
	}
	out, altered, err := gqlhttp.RewriteErrors(body, &g.errors)
	if err != nil {
		return nil, false, &upstreamError{cause: fmt.Errorf("the answer is not a GraphQL response: %w", err), sent: true}
	}
	return out, altered, nil
}

// price prices an answer that fits cost.actual_max_bytes; of a larger one, or
// one that does not fit its operation, the estimate stands.
func (x *exchange) price(v *verdict, body []byte) {
	g := &x.g.route.guard
	if !g.priced || int64(len(body)) > g.pricedMax {
		return
	}
	program, vars := v.plan.program, v.variables
	if p := v.protection; p != nil {
		program, vars = p.program, p.variables
	}
	actual, err := program.Actual(bytes.NewReader(body), vars)
	if err != nil {
		x.f.log.Warn().Err(err).Str("operation", v.plan.op.Name).Msg("the answer could not be priced; its estimate stands")
		return
	}
	x.open.Cost.Settled, x.open.Cost.Actual = true, actual.Total
}
