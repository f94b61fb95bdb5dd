package firewall

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/graphward/graphward/cost/budget"
	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/gqlhttp"
	"github.com/graphward/graphward/firewall/identity"
	"github.com/graphward/graphward/jsonscan"
	"github.com/graphward/graphward/policy"
	"github.com/graphward/graphward/schema"
)

// exchange is one request and its answer: what refusing and auditing need at
// any moment, also after a panic. Stages do not read it; they take what earlier
// stages returned.
type exchange struct {
	f      *Firewall
	g      *generation
	w      *reply
	r      *http.Request
	began  time.Time
	accept gqlhttp.Accept
	ip     netip.Addr
	who    *caller

	// reported are the codes of request-level stages whose mode is report: they
	// stand in the record of each of the request's operations.
	reported []string

	// held and open are what a panic must settle and finish.
	held purse
	// last is what ends with held: the request's admission when it has one call.
	last *admission
	open *audit.Record
	// cut: the answer was given up on purpose, with all settled and recorded.
	cut bool

	memory *memory
}

// reply remembers whether the header section is out.
type reply struct {
	http.ResponseWriter
	status int
	bytes  int64
	// stream is timeouts.write on HTTP/2, where a client may hold one stream's
	// window shut on a connection that flows; 0 elsewhere: see limitedConn.
	stream time.Duration
}

func (a *reply) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *reply) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	if a.stream > 0 {
		_ = http.NewResponseController(a.ResponseWriter).SetWriteDeadline(time.Now().Add(a.stream))
	}
	n, err := a.ResponseWriter.Write(p)
	a.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (a *reply) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// unnamed reports whether the caller was let in, where strangers are not, by a
// credential that Vary does not name (a key, a cookie, a certificate): out of a
// shared cache anybody would get the answer.
func (x *exchange) unnamed() bool {
	return x.who.identity.Authenticated && x.g.config.Identity.Anonymous != identity.Allow && len(x.r.Header["Authorization"]) == 0
}

// preflight answers a CORS preflight, or lets it pass where the config says so:
// then it is a request of nobody known among limits.in_flight.
func (x *exchange) preflight() bool {
	if !gqlhttp.IsPreflight(x.r) {
		return false
	}
	if x.g.cors.PassThrough() {
		if !x.stop(StageAdmit, x.f.enter(x.r.Context(), x.g)) {
			defer x.f.leave()
			if !x.stop(StageAdmit, x.f.roomFor(x.g, &identity.Identity{})) {
				x.passPreflight()
			}
		}
		return true
	}
	return x.g.cors.ServePreflight(x.w, x.r)
}

// record starts the audit record of one operation.
func (x *exchange) record() *audit.Record {
	rec := &x.memory.record
	if x.memory.recorded {
		rec = &audit.Record{}
	}
	x.memory.recorded = true
	*rec = audit.Record{
		Time: x.began, ID: audit.NewIDAt(x.began), Protocol: "http", ClientIP: x.ip, TraceParent: headerOf(x.r, "Traceparent"),
		Generation: x.g.number, SchemaDigest: x.g.schemaID, PolicyRevision: x.g.policyRevision(),
		Reported: slices.Clip(x.reported),
	}
	if x.who != nil && x.who.identity != nil {
		id := x.who.identity
		rec.Subject, rec.Issuer, rec.Method = id.Subject, id.Issuer, id.Method
		rec.Key, rec.Client, rec.ClientVersion, rec.Tier = id.Key, id.Client.Name, id.Client.Version, x.who.tier
	}
	return rec
}

// headerOf is r.Header.Get of a name in its canonical form.
func headerOf(r *http.Request, name string) string {
	if values := r.Header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// stop answers a failed request-level stage with its refusal.
func (x *exchange) stop(stage Stage, err error) bool {
	if err == nil {
		return false
	}
	r := x.memory.refuse(stage, err)
	switch x.g.mode(r.Code) {
	case Report:
		x.reported = reported(x.reported, r)
		return false
	case Off:
		return false
	}
	x.refuseAll(r)
	return true
}

// reported adds what a mode turned into a report, each code once: a budget may be short at the address, at the identity and in cost.
func reported(codes []string, r *Refusal) []string {
	if len(codes) == 0 && r == unregistered {
		return unregisteredAlone
	}
	if slices.Contains(codes, r.Code) {
		return codes
	}
	return append(codes, r.Code)
}

// refuseAll refuses the request as a whole, before there are calls.
func (x *exchange) refuseAll(r *Refusal) {
	if r.Stage == StageDecode && r.Code != gqlhttp.CodeNotAcceptable {
		// What could not be decoded may still say what it accepts.
		if a, ok := gqlhttp.Negotiate(x.r.Header); ok {
			x.accept = a
		}
	}
	if !x.ip.IsValid() {
		x.ip = x.g.clientIP(x.r)
	}
	x.refuseCall(x.record(), r)
}

// refuseCall answers a call that is not part of a batch with its refusal.
func (x *exchange) refuseCall(rec *audit.Record, r *Refusal) {
	out := x.refusal(rec, r)
	h := x.w.Header()
	r.budgetHeaders(h)
	x.g.cors.Decorate(h, x.r)
	err := gqlhttp.WriteRefusal(x.w, x.r, out, x.accept, x.g.legacyOK())
	x.refused(rec, r, x.w.status)
	if err != nil {
		x.f.log.Debug().Err(err).Msg("the client left before its refusal")
	}
}

// refusal is what the client is told; the next refusal takes its memory. Where
// the client may know more (responses.explain), extensions.graphward has stage,
// coordinate and rule.
func (x *exchange) refusal(rec *audit.Record, r *Refusal) *gqlhttp.Refusal {
	if r.told != nil {
		r = r.told
	}
	m := x.memory
	out := &m.told
	*out = gqlhttp.Refusal{RetryAfter: r.RetryAfter, Challenge: r.Challenge, Allow: r.Allow, Problems: m.problems[:0]}
	m.details = m.details[:0]
	switch r.Code {
	case gqlhttp.CodeRequestTimeout, gqlhttp.CodeBodyLimit:
		out.Close = true
	case gqlhttp.CodePersistedNotFound:
		if x.g.config.Operations.APQ {
			out.Status = http.StatusOK
		}
	}
	if len(r.Denials) == 0 {
		p := gqlhttp.Problem{Code: r.Code, Message: r.Message, Line: r.line, Column: r.column, Details: x.details(rec, r, nil)}
		out.Problems = append(out.Problems, p)
		return out
	}
	for i := range min(len(r.Denials), maxProblems) {
		d := &r.Denials[i]
		out.Problems = append(out.Problems, gqlhttp.Problem{Code: d.Code, Message: d.Message, Details: x.details(rec, r, d)})
	}
	return out
}

// maxProblems bounds the errors of one refusal: a denied operation may have
// thousands of denied fields.
const maxProblems = 20

// details are a problem's members of extensions beside its code. denial is the
// one that the problem is about; nil where it is about none.
func (x *exchange) details(rec *audit.Record, r *Refusal, denial *policy.Denial) []byte {
	before := len(x.memory.details)
	d := append(x.memory.details, `{"decision_id":`...)
	d = jsonscan.AppendQuote(d, rec.ID)
	if x.g.config.Responses.Explain {
		d = append(d, `,"graphward":{"stage":`...)
		d, _ = jsontext.AppendQuote(d, string(r.Stage))
		for _, m := range explainDenial(denial) {
			d, _ = jsontext.AppendQuote(append(d, ','), m.name)
			d, _ = jsontext.AppendQuote(append(d, ':'), m.value)
		}
		d = append(d, '}')
	}
	d = append(r.appendCost(d, x.g.config.Responses.Explain), '}')
	x.memory.details = d
	return d[before:len(d):len(d)]
}

// appendCost adds the numbers of a refusal for cost or budget. Those of a budget are for every client, as the RateLimit fields are: it
// cannot wait rightly without.
func (r *Refusal) appendCost(d []byte, explain bool) []byte {
	switch e := r.Exceeded; {
	case r.cost != nil:
		if !explain {
			return d
		}
		c := costStatus{requested: r.cost.requested, max: r.cost.max}
		return c.append(append(d, `,"cost":`...))
	case e != nil && measureOf(e) == "cost":
		c := costStatus{requested: e.Requested, max: e.Limit, window: e.Window, balance: &budget.Balance{Limit: e.Limit, Remaining: e.Remaining}}
		return c.append(append(d, `,"cost":`...))
	}
	return d
}

// refused finishes the record of a refusal.
func (x *exchange) refused(rec *audit.Record, r *Refusal, status int) {
	rec.Verdict = audit.Refused
	if r.Status >= 500 {
		rec.Verdict = audit.Failed
	}
	rec.Code, rec.Stage, rec.Status = r.Code, string(r.Stage), status
	rec.Message = r.Message
	if _, same := r.Cause.(*costError); r.Cause != nil && !same { //nolint:errorlint // what wraps it says more
		rec.Message = recordable(r.Cause)
	}
	if rec == &x.memory.record && rec.Rules == nil {
		rec.Rules = x.memory.rules[:0]
	}
	for i := range min(len(r.Denials), maxProblems) {
		d := &r.Denials[i]
		rec.Rules = append(rec.Rules, audit.Rule{Coordinate: d.Coordinate, Head: d.Rule.Head, At: at(d.Rule), Decision: "deny", Reads: d.Reads})
	}
	x.f.metrics.refused(r.Code)
	x.finish(rec)
}

// recordable is a cause as the audit record has it: without values of variables
// and of rules, which may be anybody's secrets.
func recordable(err error) string {
	if denied, ok := err.(*deniedError); ok { //nolint:errorlint // which wraps nothing
		return denied.Error()
	}
	if variable, ok := errors.AsType[*schema.VariableError](err); ok {
		return variable.Path + ": the value does not fit"
	}
	text := err.Error()
	if _, ok := errors.AsType[*policy.EvalError](err); ok {
		// OPA adds the values of definitions that disagree, a line each.
		text, _, _ = strings.Cut(text, "\n")
	}
	return text
}

// finish writes a record; each is written once.
func (x *exchange) finish(rec *audit.Record) {
	if x.open == rec {
		x.open = nil
	}
	rec.Duration = time.Since(x.began)
	x.f.metrics.observe(rec)
	if err := x.f.sink.Write(rec); err != nil {
		x.f.metrics.auditFailed.Inc()
		x.f.log.Error().Err(err).Str("decision_id", rec.ID).Msg("the audit record was not written")
	}
}

// recover turns a panic into a 500 and a record; nothing else notices. A
// half-written answer is cut, so that the client cannot take it for whole.
func (x *exchange) recover() {
	p := recover()
	if p == nil {
		return
	}
	if x.cut {
		panic(http.ErrAbortHandler)
	}
	x.f.settle(context.WithoutCancel(x.r.Context()), &x.held, -1, x.last)
	rec := x.open
	if rec == nil {
		rec = x.record()
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		rec.Verdict, rec.Stage, rec.Status, rec.Aborted = audit.Failed, string(StageGuard), x.w.status, true
		rec.Code = gqlhttp.CodeUpstreamError
		x.finish(rec)
		panic(http.ErrAbortHandler)
	}
	rec.Panic = true
	x.f.metrics.panics.Inc()
	x.f.log.Error().Str("decision_id", rec.ID).Str("panic", fmt.Sprint(p)).Bytes("stack", debug.Stack()).Msg("panic while serving a request")
	r := refuse(StageSettle, fmt.Errorf("panic: %v", p))
	if x.w.status != 0 {
		x.refused(rec, r, x.w.status)
		panic(http.ErrAbortHandler)
	}
	clear(x.w.Header())
	x.refuseCall(rec, r)
}

// budgetHeaders tells what was exceeded (PROTOCOLS.md, Rate limits).
func (r *Refusal) budgetHeaders(h http.Header) {
	if r.Exceeded != nil {
		item := r.Exceeded.Item(itemName(r.Exceeded.Key))
		h["Ratelimit-Policy"] = append(h["Ratelimit-Policy"], budget.RateLimitPolicy(item))
		h["Ratelimit"] = append(h["Ratelimit"], budget.RateLimit(item))
	}
}

// detail is one member of extensions.graphward.
type detail struct{ name, value string }

func explainDenial(d *policy.Denial) []detail {
	if d == nil {
		return nil
	}
	rule, place := d.Rule.Head, at(d.Rule)
	if rule == "" {
		rule = "no rule: denied by default"
	}
	return []detail{{"coordinate", d.Coordinate}, {"path", strings.Join(d.Path, ".")}, {"rule", rule}, {"at", place}}
}

// at is a rule's place for people and records; empty for no rule.
func at(r policy.Rule) string { return r.At() }
