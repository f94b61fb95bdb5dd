package firewall

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/graphward/graphward/firewall/gqlhttp"
	"github.com/graphward/graphward/schema"
	"github.com/graphward/graphward/schema/persisted"
)

// Persona is a caller for whom registered operations are judged.
type Persona struct {
	Name string
	// Claims are those of a verified token; nil: the persona is anonymous.
	Claims  map[string]any
	Issuer  string // of the token; empty: the first configured
	Headers http.Header
}

// Verdicts of a MatrixCell.
const (
	VerdictAllowed = "allowed"
	VerdictRefused = "refused"
	// VerdictDepends: refused with the sample variables, for a reason that other
	// variables may not have.
	VerdictDepends = "depends"
	// VerdictOther: the persona's token is another client's, which cannot name
	// the operation.
	VerdictOther = "other_client"
)

// Matrix is every registered operation against every persona: what production
// will say to whom.
type Matrix struct {
	Personas   []string          `json:"personas"`
	Operations []MatrixOperation `json:"operations"`
}

// MatrixOperation is one row: an operation of a registered document.
type MatrixOperation struct {
	ID      string `json:"id"`
	Client  string `json:"client,omitzero"`
	Version string `json:"version,omitzero"`
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Text    string `json:"-"`
	// Cost is what the sample variables cost, WorstCost what the worst do.
	Cost      float64 `json:"cost"`
	WorstCost float64 `json:"worst_cost"`
	// Refusals are reasons that hold whoever asks: schema, limits, cost.
	Refusals []ExplainedRefusal `json:"refusals"`
	Cells    []MatrixCell       `json:"personas"`
	// Reads lists the coordinates that it selects, sorted.
	Reads []string `json:"reads"`

	exact bool // its variables were given, or it has none
}

// Label names the operation for people.
func (o *MatrixOperation) Label() string {
	if o.Name != "" {
		return o.Name
	}
	return o.ID
}

// Place is where the operation is registered.
func (o *MatrixOperation) Place() string { return fmt.Sprintf("%s:%d:%d", o.File, o.Line, o.Column) }

// MatrixCell is what one persona gets.
type MatrixCell struct {
	Persona  string             `json:"persona"`
	Verdict  string             `json:"verdict"`
	Refusals []ExplainedRefusal `json:"refusals,omitempty"`
}

// MatrixFailure is an operation that must pass and does not.
type MatrixFailure struct {
	Operation *MatrixOperation
	Persona   string // empty: whoever asks, or no persona at all
	Reason    string
	Code      string
}

// Failures lists what must pass and does not: an operation that is refused
// whoever asks, one that a required persona is refused, and where no persona is
// required one that every persona is refused. What depends on the variables passes.
func (m *Matrix) Failures(required []string) []MatrixFailure {
	var out []MatrixFailure
	for i := range m.Operations {
		o := &m.Operations[i]
		if len(o.Refusals) > 0 {
			r := o.Refusals[0]
			out = append(out, MatrixFailure{o, "", r.Code + ": " + r.Message, r.Code})
			continue
		}
		passes, asked := 0, 0
		var first *ExplainedRefusal
		for j := range o.Cells {
			c := &o.Cells[j]
			if c.Verdict == VerdictOther {
				continue
			}
			asked++
			if c.Verdict != VerdictRefused {
				passes++
				continue
			}
			r := c.Refusals[0]
			if first == nil {
				first = &r
			}
			if slices.Contains(required, c.Persona) {
				out = append(out, MatrixFailure{o, c.Persona, r.String(), r.Code})
			}
		}
		if len(required) == 0 && asked > 0 && passes == 0 {
			out = append(out, MatrixFailure{o, "", "no persona may use it: " + first.String(), first.Code})
		}
	}
	return out
}

func (r *ExplainedRefusal) String() string {
	s := r.Code + ": " + r.Message
	if r.Path != "" {
		s += " (" + r.Path + ")"
	}
	if r.Rule != "" {
		s += " by " + r.Rule
	}
	return s
}

// JudgeOperations builds what c names, without serving it, and judges every registered
// operation for every persona. Variables are by operation name, each a JSON
// object; an operation without an entry is judged with sample variables: the
// required ones alone, with the smallest values of their types. The error lists
// every problem of c, as New's does.
func JudgeOperations(ctx context.Context, c *Config, personas []Persona, variables map[string][]byte) (*Matrix, error) {
	f, err := New(ctx, c, Offline(), leniently())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m := &matrix{f: f, g: f.current.Load(), personas: personas, variables: variables, callers: map[string]*caller{}}
	out := &Matrix{Personas: []string{}, Operations: []MatrixOperation{}}
	for i := range personas {
		out.Personas = append(out.Personas, personas[i].Name)
	}
	for d := range m.g.store.All() {
		for _, name := range operationNames(d) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			o, err := m.operation(ctx, d, name)
			if err != nil {
				return nil, err
			}
			out.Operations = append(out.Operations, o)
		}
	}
	return out, nil
}

// operationNames lists the operations of a document; [""] chooses its only one.
func operationNames(d *persisted.Document) []string {
	if d.Kind != "" {
		return []string{""}
	}
	doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: d.Text}, schema.DefaultLimits.Tokens)
	if err != nil || len(doc.Operations) == 0 {
		return []string{""}
	}
	var names []string
	for _, op := range doc.Operations {
		names = append(names, op.Name)
	}
	return names
}

type matrix struct {
	f         *Firewall
	g         *generation
	personas  []Persona
	variables map[string][]byte
	callers   map[string]*caller // by persona and client
}

func (m *matrix) operation(ctx context.Context, d *persisted.Document, name string) (MatrixOperation, error) {
	o := MatrixOperation{ID: d.ID, Client: d.Client, Version: d.Version, Name: d.Name, Kind: d.Kind, File: d.File, Line: d.Line,
		Column: d.Column, Text: d.Text, Refusals: []ExplainedRefusal{}, Cells: []MatrixCell{}, Reads: []string{}}
	if name != "" {
		o.Name = name
	}
	refuseAll := func(err error) {
		for _, e := range flatten(err) {
			r := refuse(StagePlan, e)
			if m.g.mode(r.Code) == Enforce {
				o.Refusals = append(o.Refusals, ExplainedRefusal{Code: r.Code, Stage: string(r.Stage), Message: r.Message})
			}
		}
	}
	j := &judge{f: m.f, g: m.g, collect: true}
	p, err := j.plan(&document{text: d.Text}, name)
	if err != nil {
		refuseAll(err)
		for i := range m.personas {
			o.Cells = append(o.Cells, MatrixCell{m.personas[i].Name, VerdictRefused, o.Refusals})
		}
		return o, nil
	}
	o.Kind = string(p.op.Kind)
	o.Reads = coordinates(p.op)
	limits, maxCost := m.g.ceilings("default", p.op.Kind, d)
	for _, err := range append([]error{kindAllowed(p.op, http.MethodPost)}, checkShape(p.op.Shape, limits)...) {
		refuseAll(err)
	}
	if worst, err := p.program.WorstCase(); err != nil {
		refuseAll(err)
	} else if o.WorstCost = worst.Total; worst.Total > maxCost && len(p.op.Variables) == 0 {
		refuseAll(&costError{worst.Total, maxCost})
	}
	given, known := m.variables[o.Name]
	o.exact = known || len(p.op.Variables) == 0
	if !known {
		given = sampleVariables(m.g.schema, p.op)
	}
	if vars, err := p.op.Coerce(given, m.g.compile); err == nil {
		if estimate, err := p.program.Estimate(vars); err == nil {
			o.Cost = estimate.Total
		}
	}
	for i := range m.personas {
		cell, err := m.cell(ctx, &o, d, name, given, &m.personas[i])
		if err != nil {
			return o, err
		}
		o.Cells = append(o.Cells, cell)
	}
	return o, nil
}

// cell judges one operation for one persona as a request of it would be.
func (m *matrix) cell(ctx context.Context, o *MatrixOperation, d *persisted.Document, name string, variables []byte, p *Persona) (MatrixCell, error) {
	cell := MatrixCell{Persona: p.Name, Verdict: VerdictAllowed}
	who, err := m.caller(ctx, p, d.Client)
	if err != nil {
		return cell, fmt.Errorf("persona %s: %w", p.Name, err)
	}
	if id := who.identity.Client.ID; d.Client != "" && id != "" && id != d.Client {
		cell.Verdict = VerdictOther
		return cell, nil
	}
	j := &judge{f: m.f, g: m.g, collect: true}
	call := gqlhttp.Call{OperationName: name, Variables: variables}
	j.document(ctx, document{text: d.Text, entry: d}, &call, http.MethodPost, who, 0)
	if len(j.refusals) == 0 {
		return cell, nil
	}
	cell.Verdict = VerdictDepends
	var e Explanation
	for _, r := range j.refusals {
		e.refused(r, &cell.Refusals)
		if o.exact || !varies(r) {
			cell.Verdict = VerdictRefused
		}
	}
	return cell, nil
}

// varies says whether other variables might not meet the refusal.
func varies(r *Refusal) bool {
	switch r.Stage {
	case StageBind, StageMeasure:
		return true
	case StageAuthorize:
	default:
		return false
	}
	for i := range r.Denials {
		if !slices.ContainsFunc(r.Denials[i].Reads, func(path string) bool {
			return path == "input" || path == "input.value" || path == "input.args" || path == "input.operation.cost" ||
				strings.HasPrefix(path, "input.args.") || strings.HasPrefix(path, "input.value.")
		}) {
			return false
		}
	}
	return len(r.Denials) > 0
}

// caller is the persona as the client that the document belongs to, where its
// token does not say that it is another.
func (m *matrix) caller(ctx context.Context, p *Persona, client string) (*caller, error) {
	key := p.Name + "\x00" + client
	if who := m.callers[key]; who != nil {
		return who, nil
	}
	q := ExplainRequest{Claims: p.Claims, Issuer: p.Issuer, Headers: p.Headers, Client: client}
	who, err := m.g.explained(ctx, &q)
	if err != nil && client != "" {
		q.Client = ""
		who, err = m.g.explained(ctx, &q)
	}
	if err != nil {
		return nil, err
	}
	m.callers[key] = who
	return who, nil
}

func coordinates(op *schema.Operation) []string {
	out := make([]string, 0, len(op.Uses))
	for i := range op.Uses {
		if u := &op.Uses[i]; !strings.HasPrefix(u.Field.Name, "__") {
			out = append(out, u.Coordinate())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
