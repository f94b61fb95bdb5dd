package firewall

import (
	"context"
	"errors"
	"fmt"

	"github.com/graphward/graphward/schema/persisted"
)

// CheckReport is what Check found in a configuration that works.
type CheckReport struct {
	Types      int // of the schema
	Policy     string
	Warnings   []string
	Operations []CheckedOperation
}

// CheckedOperation is one registered operation and what it would be refused
// for whoever sends it.
type CheckedOperation struct {
	ID, Client, Name string
	Source           string  // file:line of the manifest
	Cost             float64 // at its worst variables
	Refusals         []ExplainedRefusal
	Warnings         []string
}

// Label names the operation for people.
func (o CheckedOperation) Label() string {
	if o.Name != "" {
		return o.Name
	}
	return o.ID
}

// Refused counts the operations that would be refused.
func (r *CheckReport) Refused() int {
	n := 0
	for _, o := range r.Operations {
		if len(o.Refusals) > 0 {
			n++
		}
	}
	return n
}

// Check builds everything that a configuration names, without serving it, and
// judges every registered operation by what does not depend on the caller:
// schema, limits, and cost at its worst-case variables. The error lists every
// problem, as New's does.
func Check(ctx context.Context, c *Config) (*CheckReport, error) {
	f, err := New(ctx, c, Offline(), leniently())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if c.Admin.Listen != "" {
		if _, err := f.AdminHandler(); err != nil {
			return nil, err
		}
	}
	g := f.current.Load()
	report := &CheckReport{Types: len(g.schema.AST().Types), Policy: g.policyRevision(), Warnings: g.warnings()}
	for d := range g.store.All() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		o := CheckedOperation{ID: d.ID, Client: d.Client, Name: d.Name, Source: d.Source()}
		for _, e := range flatten(f.checkOperation(g, d, &o)) {
			r := refuse(StagePlan, e)
			if g.mode(r.Code) == Enforce {
				o.Refusals = append(o.Refusals, ExplainedRefusal{Code: r.Code, Stage: string(r.Stage), Message: r.Message})
			}
		}
		report.Operations = append(report.Operations, o)
	}
	return report, nil
}

// checkOperation finds what any caller would be refused for, and prices the
// operation at its worst.
func (f *Firewall) checkOperation(g *generation, d *persisted.Document, o *CheckedOperation) error {
	p, err := f.plans.build(g, d.Text, "")
	if err != nil {
		return err
	}
	limits, maxCost := g.ceilings("default", p.op.Kind, d)
	errs := append([]error{kindAllowed(p.op, "POST")}, checkShape(p.op.Shape, limits)...)
	worst, err := p.program.WorstCase()
	switch over := (&costError{worst.Total, maxCost}); {
	case err != nil:
		errs = append(errs, err)
	case worst.Total <= maxCost:
	case len(p.op.Variables) == 0:
		errs = append(errs, over)
	default:
		// Whether it is refused depends on the variables.
		o.Warnings = append(o.Warnings, fmt.Sprintf("with its worst variables %v", over))
	}
	o.Cost = worst.Total
	return errors.Join(errs...)
}

func flatten(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}
