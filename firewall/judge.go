package firewall

import (
	"context"
	"math"
	"net/http"
	"slices"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/cost"
	"github.com/graphward/graphward/firewall/gqlhttp"
	"github.com/graphward/graphward/firewall/identity"
	"github.com/graphward/graphward/policy"
	"github.com/graphward/graphward/schema"
	"github.com/graphward/graphward/schema/persisted"
)

// caller is who asks, as the policy and the budgets see it.
type caller struct {
	identity *identity.Identity
	subject  *policy.Subject
	request  *policy.Request
	tier     string // of budgets.tiers; "default" when nothing chose another
}

// verdict is a call that was let through: all that forwarding needs.
type verdict struct {
	plan      *plan
	variables *schema.Variables
	document  document
	tier      string
	// apart: the tier is that of operations.unregistered and not the caller's,
	// so its cost has a bucket of its own.
	apart    bool
	estimate cost.Estimate
	measured bool // estimate is known
	maxCost  float64
	// readsSubject: the decision depends on who asks, so no shared cache may
	// keep the answer.
	readsSubject bool
	// protection guards the answer; nil: nothing is to be guarded.
	protection *protection
}

// document is the text to plan and what is known of its registration.
type document struct {
	text string
	// known is where text is remembered; nil where it is not.
	known *gqlhttp.Text
	// entry is the registered document that the call named; nil for text.
	entry *persisted.Document
	// register is the hash under which a text asks to be kept (APQ).
	register string
}

// judge decides calls. It is made for each request; refusals go through
// refuse, which alone knows the modes.
type judge struct {
	f *Firewall
	g *generation
	// collect goes on after a refusal, as far as there is something to look
	// at: `graphward explain` wants all of them.
	collect  bool
	refusals []*Refusal
	reported []*Refusal
	memory   *memory // of the request whose only call this is; nil for others
}

// refuse records an error and says whether the call ends here.
func (j *judge) refuse(stage Stage, err error) (stop bool) {
	if err == nil {
		return false
	}
	if err == errUnregistered && j.g.mode(errUnregistered.code) == Report {
		j.reported = append(j.reported, unregistered)
		return false
	}
	r := j.memory.refuse(stage, err)
	switch j.g.mode(r.modeCode()) {
	case Off:
		return false
	case Report:
		kept := *r // the next one takes its memory
		j.reported = append(j.reported, &kept)
		return false
	}
	j.refusals = append(j.refusals, r)
	return !j.collect
}

// modeCode is the code whose mode holds: a policy's own code follows FORBIDDEN.
func (r *Refusal) modeCode() string {
	if len(r.Denials) > 0 && r.Denials[0].Kind != policy.DenyIntrospection {
		return "FORBIDDEN"
	}
	return r.Code
}

// call decides one call: resolve, plan, bind, measure, authorize. batchCost is
// the estimate of the batch's earlier calls, since cost.max holds for the sum.
// The verdict holds as much as was found, for the record; it is nil before there
// is a plan. Only ok lets the call through.
func (j *judge) call(ctx context.Context, c *gqlhttp.Call, method string, who *caller, batchCost float64) (v *verdict, ok bool) {
	doc, err := j.f.resolve(j.g, c, clientOf(who))
	if err != nil {
		j.refuse(StageResolve, err)
		return nil, false
	}
	return j.document(ctx, doc, c, method, who, batchCost)
}

// document is call once the document is known.
func (j *judge) document(ctx context.Context, doc document, c *gqlhttp.Call, method string, who *caller, batchCost float64) (v *verdict, ok bool) {
	v, ok = j.decide(ctx, doc, c, method, who, batchCost)
	if !j.hides() || j.collect {
		return v, ok
	}
	told := j.hidden(ctx, v, doc.text, c.OperationName, who)
	switch {
	case told == nil:
	case len(j.refusals) > 0:
		j.refusals[0].told = told
	default:
		j.refusals = append(j.refusals, told)
	}
	return v, ok && told == nil
}

func (j *judge) decide(ctx context.Context, doc document, c *gqlhttp.Call, method string, who *caller, batchCost float64) (v *verdict, ok bool) {
	g := j.g
	p, err := j.plan(&doc, c.OperationName)
	if err != nil {
		j.refuse(StagePlan, err)
		return nil, false
	}
	v, bound := j.room()
	*v = verdict{plan: p, document: doc, tier: who.tier}
	registered := g.register(v, clientOf(who))
	if j.refuse(StagePlan, kindAllowed(p.op, method)) {
		return v, false
	}
	if !registered && j.refuse(StageResolve, g.adhoc(ctx, p.op, who)) {
		return v, false
	}
	limits, maxCost := g.ceilings(v.tier, p.op.Kind, v.document.entry)
	for _, err := range checkShape(p.op.Shape, limits) {
		if j.refuse(StagePlan, err) {
			return v, false
		}
	}
	if err = p.op.CoerceInto(bound, c.Variables, g.compile); err != nil {
		j.refuse(StageBind, err)
		return v, false
	}
	v.variables = bound
	v.maxCost = maxCost
	if !j.measure(v, p.program, p.lenient, v.variables, batchCost) || !j.authorize(ctx, v, who, batchCost) {
		return v, false
	}
	return v, len(j.refusals) == 0
}

// room is where the verdict of a call and its variables are put together.
func (j *judge) room() (*verdict, *schema.Variables) {
	if j.memory != nil {
		return &j.memory.verdict, &j.memory.bound
	}
	return new(verdict), new(schema.Variables)
}

// measure prices a document and holds it against the limit; batchCost is the
// batch's so far.
func (j *judge) measure(v *verdict, program, lenient *cost.Program, vars *schema.Variables, batchCost float64) bool {
	var err error
	v.estimate, err = program.Estimate(vars)
	if v.measured = err == nil; j.refuse(StageMeasure, err) {
		return false
	}
	if !v.measured && lenient != nil && v.estimate == (cost.Estimate{}) {
		v.estimate, v.measured, err = tolerated(lenient, vars)
		if j.refuse(StageMeasure, err) {
			return false
		}
	}
	total := batchCost + v.estimate.Total
	return total <= v.maxCost || !j.refuse(StageMeasure, j.memory.tooCostly(total, v.maxCost))
}

// authorize asks the policy; what its decision read decides how the answer may
// be cached.
func (j *judge) authorize(ctx context.Context, v *verdict, who *caller, batchCost float64) bool {
	if j.g.policy == nil {
		return j.protect(ctx, v, &policy.Decision{Allowed: true}, who, batchCost)
	}
	d, err := j.g.policy.Decide(ctx, v.plan.binding, who.subject, who.request, policyFacts(v), v.variables)
	if err != nil {
		j.refuse(StageAuthorize, err)
		return false
	}
	v.readsSubject = d.ReadsSubject || d.ReadsRequest
	if !d.Allowed {
		refused := len(j.refusals)
		if j.denied(d.Denials); len(j.refusals) > refused {
			return false
		}
	}
	if denials := j.unfiltered(d.Guards); len(denials) > 0 && j.refuse(StageAuthorize, &deniedError{denials}) {
		return false
	}
	return j.protect(ctx, v, d, who, batchCost)
}

// denied refuses an operation for all the reasons whose mode enforces them. That
// of introspection is another than the fields': neither lets the other through.
func (j *judge) denied(denials []policy.Denial) {
	mode := j.g.mode(policy.CodeForbidden)
	if mode == j.g.mode(policy.CodeIntrospection) || !slices.ContainsFunc(denials, introspects) {
		j.refuse(StageAuthorize, j.memory.denied(denials))
		return
	}
	// A refusal's memory is the next one's: what is enforced comes last.
	for _, introspection := range [...]bool{mode == Enforce, mode != Enforce} {
		group := slices.DeleteFunc(slices.Clone(denials), func(d policy.Denial) bool { return introspects(d) != introspection })
		if len(group) > 0 {
			j.refuse(StageAuthorize, &deniedError{group})
		}
	}
}

func introspects(d policy.Denial) bool { return d.Kind == policy.DenyIntrospection }

// clientOf is whose documents a caller may name.
func clientOf(who *caller) persisted.Client {
	c := who.identity.Client
	return persisted.Client{Name: c.ID, Version: c.Version}
}

func policyFacts(v *verdict) policy.OperationFacts {
	return policy.OperationFacts{Registered: v.document.entry != nil, Cost: v.estimate.Total}
}

// plan compiles through the cache; explain compiles with open ceilings, and with
// a price for what PAGE_SIZE refuses, so that what is too large can be shown.
func (j *judge) plan(doc *document, name string) (*plan, error) {
	if !j.collect {
		return j.f.plans.known(j.g, doc, name)
	}
	open := *j.g
	if open.lenient == nil {
		lenient, err := cost.NewModel(j.g.schema, j.g.config.Cost.lenient())
		if err != nil {
			return nil, err
		}
		open.lenient = lenient
	}
	open.compile.Depth, open.compile.Aliases = openCeiling, openCeiling
	open.compile.RootFields, open.compile.Directives = openCeiling, openCeiling
	open.parseKey[0] ^= 1 // what has passed these is not for requests
	return j.f.plans.build(&open, doc.text, name)
}

// resolve turns the call's id or text into a document.
func (f *Firewall) resolve(g *generation, c *gqlhttp.Call, client persisted.Client) (document, error) {
	if c.DocumentID == "" {
		if c.Query == "" {
			return document{}, &callError{code: "BAD_REQUEST", message: "The request has no query and no document id"}
		}
		return document{text: c.Query, known: c.Known}, nil
	}
	entry, known := g.store.Lookup(client, c.DocumentID)
	apq := g.config.Operations.APQ && c.IDForm == gqlhttp.IDHash
	switch {
	case known && c.Query == "":
		return document{text: entry.Text, entry: entry}, nil
	case known:
		return document{text: entry.Text, entry: entry}, g.sameMeaning(entry.Text, c.Query)
	case c.Query == "" && apq:
		if text, ok := f.apq.Lookup(client.Name, c.DocumentID); ok {
			return document{text: text}, nil
		}
	case c.Query != "" && c.IDForm == gqlhttp.IDHash:
		if persisted.Verify(c.DocumentID, c.Query) != nil {
			return document{}, &callError{code: "PERSISTED_ID_MISMATCH", message: "The hash is not that of the query"}
		}
		doc := document{text: c.Query}
		if apq {
			doc.register = c.DocumentID
		}
		return doc, nil
	case c.IDForm == gqlhttp.IDHash && len(g.config.Operations.Manifests) == 0:
		return document{}, &callError{code: "PERSISTED_QUERY_NOT_SUPPORTED", message: "PersistedQueryNotSupported"}
	}
	return document{}, &callError{code: "PERSISTED_QUERY_NOT_FOUND", message: "PersistedQueryNotFound"}
}

// sameMeaning refuses an id that comes with the text of another document.
func (g *generation) sameMeaning(registered, given string) error {
	if registered == given {
		return nil
	}
	a, errA := g.schema.CanonicalForm(registered, g.compile)
	b, errB := g.schema.CanonicalForm(given, g.compile)
	if errA != nil || errB != nil || a != b {
		return &callError{code: "PERSISTED_ID_MISMATCH", message: "The id names another document than the query"}
	}
	return nil
}

// register says whether the planned document is registered: by the id that
// named it, or by its canonical form. What no manifest lists gets the tier of
// operations.unregistered.
func (g *generation) register(v *verdict, client persisted.Client) bool {
	if v.document.entry == nil && v.plan.formed {
		v.document.entry, _ = g.store.Match(client, v.plan.form)
	}
	if v.document.entry != nil {
		return true
	}
	if t := g.config.Operations.Unregistered.Tier; t != "" && t != v.tier {
		v.tier, v.apart = t, true
	}
	return false
}

// adhoc refuses an operation that no manifest lists, where the config says so.
func (g *generation) adhoc(ctx context.Context, op *schema.Operation, who *caller) error {
	switch g.config.Operations.Adhoc {
	case "allow":
		return nil
	case "policy":
		ok, err := g.policy.AdHoc(ctx, who.subject, who.request, op)
		if err != nil || ok {
			return err
		}
	}
	return errUnregistered
}

// errUnregistered is reported of every ad-hoc operation while a client's
// operations are being collected; so its report is made once, and only read.
var (
	errUnregistered = &callError{code: "OPERATION_NOT_ALLOWED", message: "The operation is not registered"}
	unregistered    = refuse(StageResolve, errUnregistered)
	// unregisteredAlone is what most records report, if anything; it is full.
	unregisteredAlone = []string{errUnregistered.code}
)

// kindAllowed refuses subscriptions, and mutations by GET.
func kindAllowed(op *schema.Operation, method string) error {
	switch {
	case op.Kind == ast.Subscription:
		return &callError{code: "SUBSCRIPTION_NOT_SUPPORTED", message: "Subscriptions are not supported"}
	case method == http.MethodGet && op.Kind != ast.Query:
		return gqlhttp.MethodError("A mutation needs POST", http.MethodPost)
	}
	return nil
}

// ceilings returns the limits that hold for a tier: the lowest that is named.
// entry is the registered document, nil for any other; what it raises are the
// ceilings of the config, not those that a tier has lowered.
func (g *generation) ceilings(tier string, kind ast.Operation, entry *persisted.Document) (ShapeLimits, float64) {
	c := g.config
	limits, cost := c.Limits.ShapeLimits, c.Cost.Max
	if entry != nil {
		limits, cost = limits.raised(entry.Raise), math.Max(cost, entry.Raise.Cost)
	}
	lower := func(s ShapeLimits, maxCost float64) {
		limits.Depth = lowest(limits.Depth, s.Depth)
		limits.Aliases = lowest(limits.Aliases, s.Aliases)
		limits.RootFields = lowest(limits.RootFields, s.RootFields)
		limits.Directives = lowest(limits.Directives, s.Directives)
		if maxCost > 0 {
			cost = math.Min(cost, maxCost)
		}
	}
	lower(ShapeLimits{}, c.Cost.MaxByKind[string(kind)])
	if most := g.model.Max(); most > 0 {
		lower(ShapeLimits{}, most) // the profile's own, such as Shopify's 1,000
	}
	if t, ok := c.Budgets.Tiers[tier]; ok {
		lower(t.Limits, t.MaxCost)
	}
	if entry == nil {
		lower(c.Operations.Unregistered.Limits, c.Operations.Unregistered.Cost.Max)
	}
	return limits, cost
}

func lowest(ceiling, n int) int {
	if n > 0 && n < ceiling {
		return n
	}
	return ceiling
}

// checkShape compares a finished operation with limits that Compile did not
// hold: those of a tier and those that only report.
func checkShape(s schema.Shape, l ShapeLimits) []error {
	var errs []error
	for _, m := range [...]struct {
		kind     schema.LimitKind
		got, max int
	}{{schema.LimitDepth, s.Depth, l.Depth}, {schema.LimitRootFields, s.RootFields, l.RootFields},
		{schema.LimitAliases, s.Aliases, l.Aliases}, {schema.LimitDirectives, s.Directives, l.Directives}} {
		if m.got > m.max {
			errs = append(errs, &schema.LimitError{Kind: m.kind, Got: m.got, Max: m.max})
		}
	}
	return errs
}
