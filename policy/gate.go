package policy

import (
	"context"
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/graphward/graphward/schema"
)

// Tier returns the tier that the policy gives the subject; empty when it
// names none. One that the config does not know is an *UnknownTierError.
func (e *Engine) Tier(ctx context.Context, sub *Subject, req *Request) (string, error) {
	if e.tier == nil {
		return "", nil
	}
	s := e.begin(ctx, sub, req)
	defer s.end()
	v, err := s.value(e.tier)
	if err != nil || v == nil {
		return "", err
	}
	name, ok := v.Value.(ast.String)
	switch {
	case !ok:
		return "", &EvalError{Rule: "tier", Err: fmt.Errorf("is %s, not a string", v)}
	case e.tiers != nil && !slices.Contains(e.tiers, string(name)):
		return "", &UnknownTierError{string(name)}
	}
	return string(name), nil
}

// TierLasts reports whether the policy's tier depends on the subject alone, so
// that it may be remembered for as long as this engine serves.
func (e *Engine) TierLasts() bool {
	c := e.tier
	return c == nil || c.constant != nil || c.kind == classIdentity && !c.impure && !c.same.impure
}

// AdHoc reports whether the subject may send an operation that no manifest
// lists. Without an adhoc rule nobody may.
func (e *Engine) AdHoc(ctx context.Context, sub *Subject, req *Request, op *schema.Operation) (bool, error) {
	if e.adhoc == nil {
		return false, nil
	}
	s := e.begin(ctx, sub, req)
	defer s.end()
	s.facts.operation = op
	v, err := s.value(e.adhoc)
	return isTrue(v), err
}
