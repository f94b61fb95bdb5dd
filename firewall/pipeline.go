package firewall

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/graphward/graphward/cost/budget"
	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/gqlhttp"
	"github.com/graphward/graphward/firewall/identity"
	"github.com/graphward/graphward/policy"
)

// ServeHTTP guards one request. It answers in every case, also on panic, and
// writes one audit record for each operation.
func (f *Firewall) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !mutated("nominated") {
		r = gqlhttp.WithoutNominated(r)
	}
	m := memories.Get().(*memory)
	x := &m.exchange
	m.reply.ResponseWriter = w
	*x = exchange{f: f, g: f.current.Load(), w: &m.reply, r: r, began: time.Now(), memory: m}
	if len(r.TransferEncoding) > 0 && r.ProtoMajor == 1 && !mutated("close after chunked") {
		// A Content-Length may have stood beside it, which net/http drops
		// unseen: what a proxy in front took for this body's end is not ours,
		// so nothing behind it is a request (RFC 9112 section 6.1).
		w.Header()["Connection"] = closeConnection
	}
	if r.ProtoMajor > 1 {
		x.w.stream = x.g.config.Timeouts.Write.Std()
	}
	f.metrics.inFlight.Inc()
	defer f.metrics.inFlight.Dec()
	if x.run() {
		m.release()
	}
}

// run serves the request; it reports false when it ended in a panic.
func (x *exchange) run() (ended bool) {
	defer x.recover()
	w, r := x.w, x.r
	// Answers given before the body is read must not wait for it without end.
	gqlhttp.BoundBody(w, r, x.began.Add(x.g.config.Timeouts.Body.Std()))
	if (r.URL.Path != x.g.config.Path || !aPath(r)) && !mutated("NOT_FOUND") {
		x.refuseAll(refuse(StageDecode, &callError{code: gqlhttp.CodeNotFound, message: "Not found"}))
		return true
	}
	if !x.preflight() {
		x.serve(r.Context())
	}
	return true
}

// aPath is false where an HTTP/2 request has a URL for its path (RFC 9113 section
// 8.3.1), whose authority nobody would look at.
func aPath(r *http.Request) bool {
	return r.ProtoMajor == 1 || r.RequestURI == "" || r.RequestURI[0] == '/'
}

var closeConnection = []string{"close"}

// serve is the pipeline of DESIGN.md section 3: each stage takes what earlier
// ones returned.
func (x *exchange) serve(ctx context.Context) {
	f, g := x.f, x.g
	if g.pending {
		x.refuseAll(refuse(StageAdmit, &callError{code: gqlhttp.CodeOverloaded, message: "The service is starting"}))
		return
	}
	if x.stop(StageAdmit, f.enter(ctx, g)) {
		return
	}
	defer f.leave()

	message, decodeErr := gqlhttp.Decode(x.w, x.r, g.decode)
	defer message.Release()
	calls := 1
	if decodeErr == nil {
		x.accept, calls = message.Accept, len(message.Calls)
	}
	x.ip = identity.ClientIP(x.r, g.trusted)

	admitted := ctx
	if decodeErr != nil {
		// A body that came too late or broke off has ended the context; it is
		// counted all the same, and gets its own answer.
		admitted = context.WithoutCancel(ctx)
	}
	ip := f.holders.ip(x.ip)
	held := &x.memory.admission
	held.ledger = f.ledger
	payer, err := x.toAddress(admitted, ip, calls, decodeErr == nil)
	defer held.release(ctx)
	if x.stop(StageAdmit, err) || x.stop(StageDecode, decodeErr) || x.stop(StageSettle, f.auditable()) {
		return
	}
	who := &x.memory.caller
	x.who = who
	if payer == nil {
		stage, err := g.identify(ctx, x.r, ip.text, who, &x.memory.request)
		if x.stop(stage, err) {
			return
		}
		payer = f.holders.of(g.config.Budgets.Key, who.identity, ip)
	}
	if x.stop(StageAdmit, f.roomFor(g, who.identity)) {
		return
	}
	if x.stop(StageAdmit, held.move(ctx, g, payer, who.tier, calls, ip)) {
		return
	}
	if message.Batch {
		x.batch(ctx, message, payer)
		return
	}
	x.single(ctx, message, payer)
}

// toAddress counts the request against its address. A caller who is recalled has
// cost nothing dear, and the address would only be given back what it was
// charged: it is asked instead, and the payer returned; nil where the caller is
// still to be identified.
func (x *exchange) toAddress(ctx context.Context, ip *holder, calls int, decoded bool) (payer *holder, err error) {
	f, g, held := x.f, x.g, &x.memory.admission
	if local, ok := f.ledger.(*budget.Memory); ok && decoded {
		who := &x.memory.caller
		if g.recall(x.r, ip.text, who, &x.memory.request) {
			if payer = f.holders.of(g.config.Budgets.Key, who.identity, ip); payer.name != ip.name {
				return payer, held.ask(ctx, local, g, ip, calls)
			}
		}
	}
	return nil, held.toAddress(ctx, g, ip, calls)
}

// single judges, charges and forwards one call and streams the answer.
func (x *exchange) single(ctx context.Context, m *gqlhttp.Message, payer *holder) {
	j := &x.memory.judge
	*j = judge{f: x.f, g: x.g, memory: x.memory, refusals: x.memory.refusals[:0], reported: x.memory.reports[:0]}
	record := x.record()
	v, ok := j.call(ctx, &m.Calls[0], m.Method, x.who, 0)
	describe(record, v, j)
	if !ok {
		x.refuseCall(record, j.refusals[0])
		return
	}
	if refusal := x.reserve(ctx, v, record, payer); refusal != nil {
		x.refuseCall(record, refusal)
		return
	}
	x.f.remember(v, x.who)
	x.open, x.last = record, &x.memory.admission
	if v.protection != nil && !v.protection.forwards() {
		x.local(ctx, v)
		return
	}
	out, err := x.f.forward(ctx, x, v, m.Calls[0].Extensions)
	if err != nil {
		x.unanswered(ctx, record, StageForward, err)
		return
	}
	x.respond(ctx, v, out)
}

// reserve charges a call that was let through.
func (x *exchange) reserve(ctx context.Context, v *verdict, rec *audit.Record, payer *holder) *Refusal {
	err := x.f.charge(ctx, x.g, &x.held, v, payer, x.ip)
	if err == nil {
		return nil
	}
	j := &judge{f: x.f, g: x.g}
	if j.refuse(StageCharge, err) {
		return j.refusals[0]
	}
	j.record(rec)
	return nil
}

// record adds the refusals that a mode turned into reports.
func (j *judge) record(rec *audit.Record) {
	for _, r := range j.reported {
		rec.Reported = reported(rec.Reported, r)
	}
}

// identify fills who, and request with what the policy may read of the request.
// ip is the client's address.
func (g *generation) identify(ctx context.Context, r *http.Request, ip string, who *caller, request *policy.Request) (Stage, error) {
	*who = caller{request: request, tier: "default"}
	err := g.request(r, ip, request)
	if err != nil {
		return StageDecode, err
	}
	if who.identity, err = g.identity.Authenticate(r); err != nil {
		return StageIdentify, err
	}
	known := g.known.get(who.identity)
	if who.subject = known.subject; known.tier != "" {
		who.tier = known.tier
		return "", nil
	}
	if err := g.chooseTier(ctx, who); err != nil {
		return StageTier, err
	}
	if g.policy == nil || g.policy.TierLasts() {
		g.known.put(&knownCaller{identity: who.identity, subject: who.subject, tier: who.tier})
	}
	return "", nil
}

// recall is identify of a caller who is known from earlier requests: it asks
// nobody and waits for nothing. Where it reports false identify has to say.
func (g *generation) recall(r *http.Request, ip string, who *caller, request *policy.Request) bool {
	if g.recaller == nil {
		return false
	}
	id := g.recaller.Recall(r)
	if id == nil {
		return false
	}
	known := g.known.get(id)
	*who = caller{identity: id, subject: known.subject, request: request, tier: known.tier}
	return known.tier != "" && g.request(r, ip, request) == nil
}

// chooseTier: a client's entry in the config, else the policy's tier, else the
// API key's, else default. A tier of the policy that the config does not know is
// default, with a warning.
func (g *generation) chooseTier(ctx context.Context, who *caller) error {
	known := func(name string) bool {
		_, ok := g.config.Budgets.Tiers[name]
		return ok
	}
	if t, ok := g.config.Budgets.Overrides.Clients[who.identity.Client.Name]; ok {
		who.tier = t
		return nil
	}
	if g.policy != nil {
		t, err := g.policy.Tier(ctx, who.subject, who.request)
		if _, unknown := errors.AsType[*policy.UnknownTierError](err); unknown {
			g.unknownTier(err)
			return nil
		}
		if err != nil {
			return err
		}
		if known(t) {
			who.tier = t
			return nil
		}
	}
	if known(who.identity.Tier) {
		who.tier = who.identity.Tier
	}
	return nil
}

func subjectOf(id *identity.Identity) *policy.Subject {
	return &policy.Subject{
		Authenticated: id.Authenticated, ID: id.Subject, Issuer: id.Issuer, Roles: id.Roles, Scopes: id.Scopes,
		Claims: id.Claims, Method: id.Method,
		Client: policy.Client{ID: id.Client.ID, Name: id.Client.Name, Version: id.Client.Version},
	}
}

// request is what the policy may read of the request. A header that the policy
// names and the client sends twice is refused: two readers would choose
// differently.
func (g *generation) request(r *http.Request, ip string, out *policy.Request) error {
	*out = policy.Request{Method: r.Method, Path: r.URL.Path, IP: ip, Protocol: "http", Headers: noHeaders}
	if len(g.config.Policy.Headers) > 0 {
		out.Headers = make(map[string]string, len(g.config.Policy.Headers))
	}
	for _, name := range g.config.Policy.Headers {
		values := r.Header.Values(name)
		if len(values) > 1 {
			return &callError{code: gqlhttp.CodeBadRequest, message: "A header that may stand once was sent twice", detail: "header " + name + " was sent twice"}
		}
		if len(values) == 1 {
			out.Headers[lowerASCII(name)] = values[0]
		}
	}
	return nil
}

// noHeaders is only read.
var noHeaders = map[string]string{}

// describe fills the record with what the judgement found; v is nil when there
// was no plan.
func describe(rec *audit.Record, v *verdict, j *judge) {
	j.record(rec)
	if v == nil {
		return
	}
	op := v.plan.op
	rec.Operation = audit.Operation{Kind: string(op.Kind), Name: op.Name, Hash: v.plan.hash, Registered: v.document.entry != nil}
	if v.document.entry != nil {
		rec.Operation.DocumentID = v.document.entry.ID
		j.g.usage.saw(v.document.entry)
	}
	rec.Shape = audit.Shape{Depth: op.Shape.Depth, Aliases: op.Shape.Aliases, RootFields: op.Shape.RootFields,
		Directives: op.Shape.Directives, Tokens: op.Shape.Tokens, Fragments: op.Shape.Fragments}
	rec.Cost.Estimated, rec.Cost.Estimate, rec.Cost.Max = v.measured, v.estimate.Total, v.maxCost
	rec.Tier = v.tier
}
