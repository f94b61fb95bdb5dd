package firewall

import (
	"context"
	"net/http"
	"strings"

	"github.com/graphward/graphward/cost"
	"github.com/graphward/graphward/firewall/gqlhttp"
	"github.com/graphward/graphward/firewall/identity"
	"github.com/graphward/graphward/policy"
	"github.com/graphward/graphward/schema"
)

// ExplainRequest is one operation to explain, as a client would send it.
type ExplainRequest struct {
	Query, OperationName string
	DocumentID           string
	Variables            []byte // JSON object; nil for none
	// Claims are those of a verified token; nil: anonymous. Issuer is its iss;
	// empty: the first configured issuer.
	Claims  map[string]any
	Issuer  string
	Client  string // the client's name
	Version string // the client's; empty for none
	Headers http.Header
}

// Explanation is the decision for one operation, stage by stage. It is what
// `graphward explain --json` prints (DESIGN.md section 8).
type Explanation struct {
	Operation ExplainedOperation `json:"operation"`
	Shape     ExplainedShape     `json:"shape"`
	Cost      *cost.Report       `json:"cost,omitempty"`
	Fields    []ExplainedField   `json:"fields"`
	// Forwarded is the document that the upstream gets, where what is denied or
	// decided on the answer changes it; empty: nothing is forwarded; nil: the
	// client's own, or the operation is refused.
	Forwarded *string          `json:"forwarded,omitempty"`
	Budget    ExplainedBudget  `json:"budget"`
	Verdict   ExplainedVerdict `json:"verdict"`
	// Error says why there is no price.
	Error string `json:"error,omitempty"`
}

// ExplainedOperation names the operation.
type ExplainedOperation struct {
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	Hash       string `json:"hash"` // SHA-256 of the canonical text, hexadecimal
	Registered bool   `json:"registered"`
}

// ExplainedShape is the operation's size, as limits count it.
type ExplainedShape struct {
	Depth      int `json:"depth"`
	Aliases    int `json:"aliases"`
	RootFields int `json:"root_fields"`
	Directives int `json:"directives"`
	Tokens     int `json:"tokens"`
	Fragments  int `json:"fragments"`
}

// ExplainedField is one distinct field use and the rule that decided it.
type ExplainedField struct {
	Coordinate string `json:"coordinate"`
	Path       string `json:"path"` // response keys, joined by dots
	Rule       string `json:"rule"` // its head; empty: no rule, which denies
	At         string `json:"at"`   // file:line
	// Decision is allow, deny (under on_deny: filter the field alone is cut), mask
	// (denied, but shown masked) or object (decided on the answer).
	Decision string `json:"decision"`
	// Mask is the rule of the mask, MaskAt its file:line; Drop that which leaves
	// denied items out of a list. Empty: none.
	Mask   string   `json:"mask,omitempty"`
	MaskAt string   `json:"mask_at,omitempty"`
	Drop   string   `json:"drop,omitempty"`
	DropAt string   `json:"drop_at,omitempty"`
	Reads  []string `json:"reads"` // input paths that the rule can read
	Class  string   `json:"class,omitempty"`
	Why    []string `json:"why,omitempty"` // for a denial: the expressions that were not true
}

// ExplainedBudget is what the operation would be charged.
type ExplainedBudget struct {
	Client string  `json:"client"`
	Tier   string  `json:"tier"`
	Charge float64 `json:"charge"`
}

// ExplainedVerdict is the end of it: every refusal, not the first alone.
type ExplainedVerdict struct {
	Allowed  bool               `json:"allowed"`
	Refusals []ExplainedRefusal `json:"refusals"`
	// Reported are refusals whose code is in report mode.
	Reported []ExplainedRefusal `json:"reported,omitempty"`
}

// ExplainedRefusal is one reason to refuse.
type ExplainedRefusal struct {
	Code    string `json:"code"`
	Stage   string `json:"stage"`
	Message string `json:"message"`
	Path    string `json:"path"`
	Rule    string `json:"rule"`
}

// Explain decides an operation without forwarding or charging it, and goes on
// after a refusal as far as there is something to look at.
func (f *Firewall) Explain(ctx context.Context, q ExplainRequest) (*Explanation, error) {
	g := f.current.Load()
	e := &Explanation{Fields: []ExplainedField{}, Verdict: ExplainedVerdict{Refusals: []ExplainedRefusal{}}}
	who, err := g.explained(ctx, &q)
	if err != nil {
		r := refuse(StageIdentify, err)
		e.refused(r, &e.Verdict.Refusals)
		e.Error = r.Message
		return e, nil
	}
	e.Budget = ExplainedBudget{Client: who.identity.Client.Name, Tier: who.tier}
	j := &judge{f: f, g: g, collect: true}
	call := gqlhttp.Call{Query: q.Query, OperationName: q.OperationName, Variables: q.Variables, DocumentID: q.DocumentID}
	v, _ := j.call(ctx, &call, http.MethodPost, who, 0)
	if v != nil {
		if err := e.describe(ctx, g, v, who); err != nil {
			return nil, err
		}
	}
	for _, r := range j.refusals {
		e.refused(r, &e.Verdict.Refusals)
		if r.Stage == StageMeasure && e.Cost == nil && e.Error == "" {
			e.Error = r.Message
		}
	}
	for _, r := range j.reported {
		e.refused(r, &e.Verdict.Reported)
		if r.Stage == StageMeasure && e.Cost == nil && e.Error == "" {
			e.Error = r.Message
		}
	}
	if e.Verdict.Allowed = len(e.Verdict.Refusals) == 0; e.Verdict.Allowed {
		e.Forwarded = v.forwarded()
	}
	if n := len(j.refusals); e.Cost == nil && e.Error == "" && n > 0 {
		e.Error = j.refusals[n-1].Message
	}
	return e, nil
}

// forwarded is the document that is forwarded; nil: the client's own.
func (v *verdict) forwarded() *string {
	p := v.protection
	switch {
	case p == nil:
		return nil
	case !p.forwards():
		return new(string)
	case p.op.Text == v.plan.op.Text:
		return nil
	}
	return &p.op.Text
}

// explained is the caller that the request describes.
func (g *generation) explained(ctx context.Context, q *ExplainRequest) (*caller, error) {
	who := &caller{tier: "default"}
	id, err := identity.FromClaims(&g.config.Identity, q.Issuer, q.Claims, q.Client, q.Version)
	if err != nil {
		return nil, err
	}
	who.identity, who.subject = id, subjectOf(id)
	r := &http.Request{Method: http.MethodPost, Header: q.Headers, RemoteAddr: "127.0.0.1:0"}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.URL = urlOf(g.config.Path)
	who.request = new(policy.Request)
	if err = g.request(r, "127.0.0.1", who.request); err != nil {
		return nil, err
	}
	return who, g.chooseTier(ctx, who)
}

// ExplainShape names an operation and gives its size.
func ExplainShape(op *schema.Operation) (ExplainedOperation, ExplainedShape) {
	s := &op.Shape
	return ExplainedOperation{Kind: string(op.Kind), Name: op.Name, Hash: hexDigest(op.Hash)},
		ExplainedShape{Depth: s.Depth, Aliases: s.Aliases, RootFields: s.RootFields, Directives: s.Directives, Tokens: s.Tokens, Fragments: s.Fragments}
}

func (e *Explanation) describe(ctx context.Context, g *generation, v *verdict, who *caller) error {
	op := v.plan.op
	e.Operation, e.Shape = ExplainShape(op)
	e.Operation.Registered = v.document.entry != nil
	e.Budget.Tier = v.tier
	if v.variables != nil {
		e.Cost = v.plan.report(v.variables, v.maxCost)
	}
	if v.measured {
		e.Budget.Charge = v.estimate.Total
	}
	if g.policy == nil || v.variables == nil {
		return nil
	}
	facts := policyFacts(v)
	fields, err := g.policy.Explain(ctx, v.plan.binding, who.subject, who.request, facts, v.variables)
	if err != nil {
		return err
	}
	for i := range fields {
		d := &fields[i]
		e.Fields = append(e.Fields, ExplainedField{
			Coordinate: d.Coordinate, Path: strings.Join(d.Path, "."), Rule: d.Rule, At: d.At, Decision: d.Decision,
			Mask: d.Mask, MaskAt: d.MaskAt, Drop: d.Drop, DropAt: d.DropAt,
			Reads: emptyNotNull(d.Reads), Class: d.Class, Why: d.Why,
		})
	}
	return nil
}

// refused appends a refusal; a policy's denials are one each.
func (e *Explanation) refused(r *Refusal, to *[]ExplainedRefusal) {
	if len(r.Denials) == 0 {
		*to = append(*to, ExplainedRefusal{Code: r.Code, Stage: string(r.Stage), Message: r.Message})
		return
	}
	for i := range r.Denials {
		d := &r.Denials[i]
		rule := d.Rule.Head
		if place := at(d.Rule); place != "" {
			rule += " at " + place
		}
		*to = append(*to, ExplainedRefusal{Code: d.Code, Stage: string(r.Stage), Message: d.Message, Path: strings.Join(d.Path, "."), Rule: rule})
	}
}

func emptyNotNull(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
